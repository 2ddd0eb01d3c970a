import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type ForwardResponse, ForwardResponseSchema } from "@weir/gen/weir/passthrough/v1/passthrough_service_pb";
import { ReplyStream } from "@weir/kit/reply-stream";
import { expect, test } from "vitest";
import type { Exchange } from "../../http/exchange.ts";
import { relay } from "./answer.ts";

/** An answer on its way to a client, whose provider says what a test lets it say, and whose alarm rings when a test wants. */
function relayed(contentType: string) {
  const waiting: ForwardResponse[] = [];
  const reply = new ReplyStream<ForwardResponse>({
    begin: () => undefined,
    poll: () => waiting.shift(),
    hangUp: () => undefined,
  });
  const say = async (payload: MessageInitShape<typeof ForwardResponseSchema>["payload"]): Promise<void> => {
    waiting.push(create(ForwardResponseSchema, { payload: payload ?? { case: undefined } }));
    reply.ready();
    // Until what follows from it has been done.
    await new Promise((resolve) => setImmediate(resolve));
  };
  let written = "";
  let ring: (() => void) | undefined;
  const client = { isStalled: false };
  const exchange = {
    isOver: false,
    get isStalled() {
      return client.isStalled;
    },
    begin: () => undefined,
    write(data: string | Uint8Array) {
      written += Buffer.from(data as Uint8Array).toString();
      return !client.isStalled;
    },
    writable: () => Promise.resolve(),
    end: () => undefined,
    alarm: (_: number, onDue: () => void) => (ring = onDue),
    delayAlarm: () => undefined,
    clearAlarm: () => (ring = undefined),
  };
  const done = relay(exchange as unknown as Exchange, reply, 15_000);
  return {
    begin: () => say({ case: "head", value: { status: 200, contentType } }),
    data: (text: string) => say({ case: "data", value: Buffer.from(text) }),
    end: () => say({ case: "end", value: {} }),
    silence: () => ring?.(),
    written: () => written,
    client,
    done,
  };
}

test("while a provider of events is silent its client hears that there is life, between lines and never within one", async () => {
  const answer = relayed("text/event-stream; charset=utf-8");
  await answer.begin();
  answer.silence();
  await answer.data("event: a\ndata: 1\n\ndata: ha");
  answer.silence();
  await answer.data("lf\n");
  answer.silence();
  answer.silence();
  await answer.data("\n");
  await answer.end();
  await answer.done;
  expect(answer.written()).toBe(": ping\nevent: a\ndata: 1\n\ndata: half\n: ping\n: ping\n\n");
});

test("a client that does not read hears nothing, and does again when it keeps up", async () => {
  const answer = relayed("text/event-stream");
  await answer.begin();
  answer.client.isStalled = true;
  await answer.data("data: 1\n\n");
  answer.silence();
  expect(answer.written()).toBe("data: 1\n\n");
  answer.client.isStalled = false;
  answer.silence();
  expect(answer.written()).toBe("data: 1\n\n: ping\n");
});

test.each(["application/json", "application/x-ndjson", "audio/mpeg"])("nothing is put into %s", async (contentType) => {
  const answer = relayed(contentType);
  await answer.begin();
  await answer.data("{}\n");
  answer.silence();
  expect(answer.written()).toBe("{}\n");
});
