import { openaiResponses } from "@weir/dialect/openai-responses/codec";
import { answerOptions } from "@weir/dialect/openai-responses/testing";
import { startEvent, textEvent } from "@weir/dialect/events";
import { create } from "@bufbuild/protobuf";
import { GenerateRequestSchema, type GenerateResponse } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { ReplyStream } from "@weir/kit/reply-stream";
import { systemClock } from "@weir/kit/clock";
import { expect, test, vi } from "vitest";
import { edgeSettings } from "../../config.ts";
import { wire } from "../../testing/harness.ts";
import { createByteRoom } from "./byte-room.ts";
import type { KeyedCall } from "../route.ts";
import { RememberedCall, type RememberingDeps } from "./remembered-call.ts";

const head = { status: 200, contentType: "text/event-stream", provider: "p", model: "m", attempts: 1 };
const roomBytes = 1_000_000;

/** A stream that has begun and goes on for ever. */
function begun(): ReplyStream<GenerateResponse> {
  const writer = openaiResponses.createFrameWriter(answerOptions);
  const events = [startEvent({ id: "resp_1", model: "m" }), textEvent(0, 0, "hi")];
  const data = events
    .flatMap((event) => writer.write(event))
    .map(({ type, data: json }) => `event: ${type}\ndata: ${json}\n\n`);
  const messages = [wire({ head, data: Buffer.from(data.join("")) })];
  return new ReplyStream({ begin() {}, poll: () => messages.shift(), hangUp() {} });
}

test("what a client left behind takes up room until it is stored", async () => {
  const stored = Promise.withResolvers<boolean>();
  const keep = vi.fn(() => stored.promise);
  const room = createByteRoom(roomBytes);
  const deps = {
    chat: { generate: begun },
    archive: { keep },
    room,
    settings: () => edgeSettings(),
    clock: systemClock,
  } as unknown as RememberingDeps;
  const body = Buffer.from('{"model":"m","input":"hi","stream":true}');
  const request = create(GenerateRequestSchema, { model: "m", wire: { body, stream: true } });
  const { stream } = new RememberedCall(deps, request, { caller: undefined }, {} as KeyedCall);
  expect(stream.poll()).toBeDefined();
  await stream.return();
  expect(keep).toHaveBeenCalledOnce();
  expect(room.take(roomBytes)).toBe(false);
  stored.resolve(true);
  await vi.waitFor(() => expect(room.take(roomBytes)).toBe(true));
});
