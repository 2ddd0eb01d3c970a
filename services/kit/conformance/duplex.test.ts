import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { PassthroughService } from "@weir/gen/weir/passthrough/v1/passthrough_service_pb";
import { describe, expect, test } from "vitest";
import { requestMetadata } from "../call.ts";
import { createMesh } from "../mesh.ts";
import { ReplyStream } from "../reply-stream.ts";
import { CallCancelled, WeirError } from "../weir-error.ts";
import { opening } from "./opening.ts";
import { failure, until, ways, whenAborted } from "./ways.ts";

const piece = (text: string) => ({ payload: { case: "piece" as const, value: { data: Buffer.from(text) } } });
const answer = (text: string) => ({ payload: { case: "data" as const, value: Buffer.from(text) } });

interface Message {
  readonly payload: { readonly case?: string | undefined; readonly value?: unknown };
}

/** The text of a request or an answer. */
function textOf({ payload }: Message): string {
  const { value } = payload;
  return Buffer.from(value instanceof Uint8Array ? value : (value as { data: Uint8Array }).data).toString();
}

async function all(stream: AsyncIterable<Message>): Promise<string[]> {
  const texts: string[] = [];
  for await (const message of stream) texts.push(textOf(message));
  return texts;
}

async function* pieces(...texts: string[]) {
  for (const text of texts) yield piece(text);
}

/** Requests that are pushed in, one after the other. */
function pushed() {
  const waiting: ReturnType<typeof piece>[] = [];
  let left = false;
  const stream = new ReplyStream<ReturnType<typeof piece>>({
    begin: () => undefined,
    poll: () => waiting.shift(),
    hangUp: () => {
      left = true;
    },
  });
  return {
    stream,
    push(text: string) {
      waiting.push(piece(text));
      stream.ready();
    },
    isLeft: () => left,
  };
}

/** Two processes' worth of mesh, with a handler that echoes until its caller ends. */
async function pair() {
  const server = createMesh({ name: "server", listen: "127.0.0.1:0" });
  server.host("router", PassthroughService, {
    async *forward(requests) {
      for await (const request of requests) yield answer(textOf(request));
      yield answer("end");
    },
  });
  await server.start();
  const caller = createMesh({ name: "caller", peers: { router: [server.status().address ?? ""] }, connectWaitMs: 200 });
  const passthrough = caller.client(PassthroughService, "router");
  await caller.start();
  return { server, caller, passthrough };
}

test("a link that breaks fails the call at once, and its requests are left", async () => {
  const { server, caller, passthrough } = await pair();
  const requests = pushed();
  requests.push("a");
  const replies = passthrough.forward(requests.stream);
  expect(textOf((await replies.next()).value as Message)).toBe("a");
  const next = failure(replies.next());
  await server.close();
  expect(await next).toMatchObject({ reason: ErrorReason.OVERLOADED, retryAfterMs: 1000 });
  await until(() => requests.isLeft());
  await caller.close();
});

test("after drain an open call still sends and gets, and the drain ends with it", async () => {
  const { server, caller, passthrough } = await pair();
  const requests = pushed();
  requests.push("a");
  const replies = passthrough.forward(requests.stream);
  await replies.next();
  let drained = false;
  const draining = server.drain(10_000).then(() => (drained = true));
  requests.push("b");
  expect(textOf((await replies.next()).value as Message)).toBe("b");
  expect(drained).toBe(false);
  requests.stream.end();
  expect(await all(replies)).toEqual(["end"]);
  await draining;
  await caller.close();
  await server.close();
});

// What every door owes to calls in which both sides send streams.
describe.each(ways)("%s", (_, door, openWay) => {
  const open = opening(openWay);

  test("messages go both ways in turns, then both sides end", async () => {
    const { passthrough } = await open({
      async *forward(requests, context) {
        context.responseHeader.set("x-seen", requestMetadata(context, "weir-request-id") ?? "");
        for await (const request of requests) yield answer(`echo ${textOf(request)}`);
        yield answer("end");
      },
    });
    const requests = pushed();
    let seen: string | undefined;
    const replies = passthrough.forward(requests.stream, {
      metadata: { "weir-request-id": "r1" },
      onHeaders: (headers) => (seen = headers["x-seen"]),
    });
    for (const text of ["a", "b", "c"]) {
      requests.push(text);
      const reply = await replies.next();
      expect(textOf(reply.value as Message)).toBe(`echo ${text}`);
    }
    requests.stream.end();
    expect(await all(replies)).toEqual(["end"]);
    expect(seen).toBe("r1");
  });

  test("order holds both ways over many messages of all sizes", async () => {
    const { passthrough } = await open({
      async *forward(requests) {
        for await (const request of requests) yield answer(textOf(request));
      },
    });
    const sent = Array.from({ length: 300 }, (_value, index) =>
      `${index}:`.padEnd(index % 50 === 7 ? 200_000 : 20, "x"),
    );
    expect(await all(passthrough.forward(pieces(...sent)))).toEqual(sent);
  });

  test("requests without messages end, and a handler may answer before any came", async () => {
    const { passthrough } = await open({
      async *forward(requests) {
        yield answer("first");
        let count = 0;
        for await (const _request of requests) count += 1;
        yield answer(`${count}`);
      },
    });
    expect(await all(passthrough.forward(pieces()))).toEqual(["first", "0"]);
  });

  test("the call begins, and the first request is asked for, with the first reply", async () => {
    let asked = 0;
    const { passthrough } = await open({ async *forward() {} });
    const replies = passthrough.forward(
      (async function* () {
        asked += 1;
        yield piece("a");
      })(),
    );
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(asked).toBe(0);
    await replies.return();
    expect(asked).toBe(0);
  });

  test("a handler that ends first ends the call: the requests are left", async () => {
    const { passthrough } = await open({
      async *forward(requests) {
        const first = await requests[Symbol.asyncIterator]().next();
        yield answer(textOf(first.value as Message));
      },
    });
    const requests = pushed();
    requests.push("a");
    expect(await all(passthrough.forward(requests.stream))).toEqual(["a"]);
    await until(() => requests.isLeft());
  });

  test("a handler that fails: its error arrives, and the requests are left", async () => {
    const { passthrough } = await open({
      async *forward(requests) {
        for await (const _request of requests) {
          throw new WeirError(ErrorReason.RATE_LIMITED, { text: "Slow down.", retryAfterMs: 1500 });
        }
      },
    });
    const requests = pushed();
    requests.push("a");
    expect(await failure(all(passthrough.forward(requests.stream)))).toMatchObject({
      reason: ErrorReason.RATE_LIMITED,
      message: "Slow down.",
      retryAfterMs: 1500,
    });
    await until(() => requests.isLeft());
  });

  test("requests that fail cancel the call: it fails as they did, and the handler's reading fails", async () => {
    const steps: string[] = [];
    let begin = (): void => undefined;
    const begun = new Promise<void>((resolve) => {
      begin = resolve;
    });
    const { passthrough } = await open({
      async *forward(requests) {
        try {
          for await (const request of requests) {
            begin();
            yield answer(textOf(request));
          }
        } catch (thrown) {
          steps.push((thrown as Error).name);
          throw thrown;
        } finally {
          steps.push("closed");
        }
      },
    });
    const replies = passthrough.forward(
      (async function* () {
        yield piece("a");
        await begun;
        throw new WeirError(ErrorReason.INVALID_REQUEST, { text: "Not so." });
      })(),
    );
    expect(await failure(all(replies))).toMatchObject({ reason: ErrorReason.INVALID_REQUEST, message: "Not so." });
    await until(() => steps.includes("closed"));
  });

  test.each(["signal", "return", "deadline"])(
    "a caller who gives up (%s) ends the handler's reading, and its finally runs",
    async (how) => {
      const steps: string[] = [];
      const { passthrough } = await open({
        async *forward(requests, { signal }) {
          signal.addEventListener("abort", () => steps.push("aborted"));
          try {
            for await (const request of requests) yield answer(textOf(request));
            steps.push("ended well");
          } finally {
            steps.push("closed");
          }
        },
      });
      const hangUp = new AbortController();
      const requests = pushed();
      const replies = passthrough.forward(requests.stream, {
        signal: hangUp.signal,
        ...(how === "deadline" ? { timeoutMs: 150 } : {}),
      });
      requests.push("a");
      await replies.next();
      if (how === "signal") {
        hangUp.abort();
        expect(await failure(replies.next())).toBeInstanceOf(CallCancelled);
      } else if (how === "return") {
        await replies.return();
      } else {
        expect(await failure(replies.next())).toMatchObject({ reason: ErrorReason.DEADLINE_EXCEEDED });
      }
      await until(() => steps.includes("closed") && steps.includes("aborted"));
      expect(steps).not.toContain("ended well");
      await until(() => requests.isLeft());
    },
  );

  test("a handler that does not read holds its caller's requests back; replies go on", async () => {
    let made = 0;
    let go = (): void => undefined;
    const gone = new Promise<void>((resolve) => {
      go = resolve;
    });
    const { passthrough, routes } = await open({
      async *forward(requests) {
        for (let index = 0; index < 5; index += 1) yield answer("early");
        await gone;
        let count = 0;
        for await (const _request of requests) count += 1;
        yield answer(`${count}`);
      },
      getRoute: ({ name }) => ({ route: { name } }),
    });
    const replies = passthrough.forward(
      (async function* () {
        for (; made < 2000; made += 1) yield piece("x".repeat(10_000));
      })(),
    );
    for (let index = 0; index < 5; index += 1) await replies.next();
    for (let index = 0; index < 20; index += 1) await routes.getRoute({ name: `routes/${index}` });
    // local hands over one by one, the link's window holds 128 KiB; HTTP/2 and the streams above it hold more.
    expect(made).toBeLessThanOrEqual({ local: 2, link: 16, grpc: 600 }[door]);
    go();
    expect(await all(replies)).toEqual(["2000"]);
  });

  test("a reader who does not read holds the handler back while its own requests go on", async () => {
    let produced = 0;
    let received = 0;
    const { passthrough } = await open({
      async *forward(requests) {
        void (async () => {
          for await (const _request of requests) received += 1;
        })();
        for (; produced < 2000; produced += 1) yield answer("x".repeat(10_000));
      },
    });
    const replies = passthrough.forward(pieces(...Array.from({ length: 50 }, () => "a")));
    await replies.next();
    await until(() => received === 50);
    expect(produced).toBeLessThanOrEqual({ local: 2, link: 16, grpc: 600 }[door]);
    await replies.return();
  });

  test("a request that breaks its schema, or is too large, ends the call and reaches nobody", async () => {
    const seen: string[] = [];
    const { passthrough } = await open(
      {
        async *forward(requests) {
          for await (const request of requests) seen.push(request.payload.case ?? "");
          yield answer("end");
        },
      },
      { messageBytesMax: 100_000 },
    );
    const broken = {
      payload: { case: "head" as const, value: { endpoint: "files", method: "PATCH", path: "/files" } },
    };
    const error = await failure(
      all(
        passthrough.forward(
          (async function* () {
            yield broken;
          })(),
        ),
      ),
    );
    expect(error).toMatchObject({ reason: ErrorReason.INVALID_REQUEST });
    expect(error.message).not.toContain("PATCH");
    expect(await failure(all(passthrough.forward(pieces("x".repeat(100_001)))))).toMatchObject({
      reason: ErrorReason.REQUEST_TOO_LARGE,
    });
    expect(seen).toEqual([]);
  });

  test("a method that nobody serves is refused, and the requests are left", async () => {
    const { passthrough } = await open({});
    const requests = pushed();
    requests.push("a");
    expect(await failure(all(passthrough.forward(requests.stream)))).toMatchObject({
      reason: ErrorReason.METHOD_NOT_ALLOWED,
    });
    await until(() => requests.stream.ended);
  });

  test("a deadline that has passed and a signal that has fired call nobody", async () => {
    let called = 0;
    const { passthrough } = await open({
      async *forward() {
        called += 1;
      },
    });
    const late = passthrough.forward(pieces("a"), { timeoutMs: 0 });
    expect(await failure(all(late))).toMatchObject({ reason: ErrorReason.DEADLINE_EXCEEDED });
    const left = passthrough.forward(pieces("a"), { signal: AbortSignal.abort() });
    expect(await failure(all(left))).toBeInstanceOf(CallCancelled);
    expect(called).toBe(0);
  });

  test("many calls at once keep apart", async () => {
    const { passthrough } = await open({
      async *forward(requests, { signal }) {
        for await (const request of requests) {
          if (signal.aborted) await whenAborted(signal);
          yield answer(textOf(request));
        }
      },
    });
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_value, call) =>
        all(passthrough.forward(pieces(...Array.from({ length: 10 }, (_other, index) => `${call}-${index}`)))),
      ),
    );
    answers.forEach((texts, call) =>
      expect(texts).toEqual(Array.from({ length: 10 }, (_value, index) => `${call}-${index}`)),
    );
  });
});
