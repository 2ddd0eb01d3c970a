import { type ClientHttp2Session, constants } from "node:http2";
import { gzipSync } from "node:zlib";
import { createContextValues } from "@connectrpc/connect";
import { ChatService, GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import { afterEach, expect, test } from "vitest";
import { hostService } from "../call.ts";
import type { Clock } from "../clock.ts";
import { encodeToBytes } from "../codec.ts";
import { until } from "../conformance/ways.ts";
import { methodPath } from "../context.ts";
import type { Gate } from "./gate.ts";
import {
  ask,
  cleanUp,
  connect,
  type Fields,
  frame,
  getRoute,
  head,
  routeRequest,
  serve,
} from "./testing/plain-wire.ts";

// What a client of plain gRPC may take: time, memory, and how long an answer waits for it.

afterEach(cleanUp);

/** Time that passes only when it is told to. */
function ownClock(): Clock & { pass(ms: number): void } {
  let nowMs = 0;
  const timers = new Set<{ readonly atMs: number; readonly call: () => void }>();
  return {
    now: () => nowMs,
    monotonic: () => nowMs,
    after(delayMs, call) {
      const timer = { atMs: nowMs + delayMs, call };
      timers.add(timer);
      return () => timers.delete(timer);
    },
    pass(ms) {
      nowMs += ms;
      for (const timer of timers) {
        if (timer.atMs > nowMs) continue;
        timers.delete(timer);
        timer.call();
      }
    },
  };
}

/** A gate that lets everybody in, with room for so many bytes. */
function openGate(roomBytes = 1_000_000) {
  let taken = 0;
  const gate: Gate = {
    admit: () => {
      let own = 0;
      return {
        values: createContextValues(),
        headers: { "x-request-id": "r1" },
        take(bytes) {
          if (taken + bytes > roomBytes) return false;
          taken += bytes;
          own += bytes;
          return true;
        },
        give(bytes) {
          taken -= bytes;
          own -= bytes;
        },
        over() {
          taken -= own;
        },
      };
    },
    connect: () => () => undefined,
    callsPerConnectionMax: 100,
    headBytesMax: 16_384,
    receiveTimeoutMs: 300_000,
    writeStallMs: () => 60_000,
    idleMs: 600_000,
    ageMs: 3_600_000,
  };
  return { gate, takenBytes: () => taken };
}

test("a request that does not come whole in its time ends its call", async () => {
  const clock = ownClock();
  const { address } = await serve({ gate: openGate().gate, clock });
  const session = await connect(address);
  const stream = session.request(head(getRoute));
  stream.write(Buffer.from([0, 0, 0]));
  await new Promise((resolve) => session.ping(resolve));
  const ended = new Promise<Fields>((resolve) => stream.once("response", (fields) => resolve(fields as Fields)));
  clock.pass(5_000);
  clock.pass(300_000);
  expect((await ended)["grpc-status"]).toBe("4");
});

test("a call that was answered is ended when its client never ends its request", async () => {
  const clock = ownClock();
  const { gate, takenBytes } = openGate();
  const { address } = await serve({ gate, clock });
  const session = await connect(address);
  const stream = session.request(head(getRoute));
  const answered = new Promise((resolve) => stream.once("response", resolve));
  const ended = new Promise<number>((resolve) => stream.once("close", () => resolve(stream.rstCode)));
  stream.resume();
  stream.write(Buffer.concat([frame(routeRequest("routes/a")), frame(routeRequest("routes/b"))]));
  await answered;
  clock.pass(5_000);
  expect(takenBytes()).not.toBe(0);
  clock.pass(300_000);
  expect(await ended).toBe(constants.NGHTTP2_NO_ERROR);
  await until(() => takenBytes() === 0);
  expect(session.closed).toBe(false);
});

test("a connection without a call, and one that is old, are told to go", async () => {
  const clock = ownClock();
  const { address } = await serve({ gate: { ...openGate().gate, idleMs: 60_000 }, clock });
  const idle = await connect(address);
  await ask(idle, head(getRoute), frame(routeRequest("routes/a")));
  const parting = new Promise((resolve) => idle.once("goaway", resolve));
  clock.pass(5_000);
  expect(idle.closed).toBe(false);
  clock.pass(60_000);
  await parting;

  const { address: other } = await serve({ gate: { ...openGate().gate, idleMs: Infinity, ageMs: 60_000 }, clock });
  const old = await connect(other);
  await ask(old, head(getRoute), frame(routeRequest("routes/a")));
  const second = new Promise((resolve) => old.once("goaway", resolve));
  clock.pass(5_000);
  expect(old.closed).toBe(false);
  clock.pass(66_000);
  await second;
});

test("what messages take of the common room comes back with their calls, packed or not", async () => {
  const { gate, takenBytes } = openGate();
  const { address } = await serve({ gate });
  const session = await connect(address);
  const headers = head(getRoute, { "grpc-encoding": "gzip" });
  const packed = frame(gzipSync(routeRequest("routes/a")), 1);
  for (const body of [frame(routeRequest("routes/a")), packed, frame(Buffer.from("none"), 1)]) {
    await ask(session, headers, body);
  }
  const stream = session.request(headers);
  stream.on("error", () => undefined);
  stream.write(packed.subarray(0, 10));
  await until(() => takenBytes() === 10);
  stream.close(constants.NGHTTP2_CANCEL);
  await until(() => takenBytes() === 0);
});

test("a message that unpacks beyond the common room is refused", async () => {
  const { gate, takenBytes } = openGate(50_000);
  const { address, asked } = await serve({ gate });
  const session = await connect(address);
  const bomb = frame(gzipSync(routeRequest("x".repeat(900_000))), 1);
  const { headers } = await ask(session, head(getRoute, { "grpc-encoding": "gzip" }), bomb);
  expect(headers["grpc-status"]).toBe("8");
  expect(headers["x-request-id"]).toBe("r1");
  expect(asked).toEqual([]);
  await until(() => takenBytes() === 0);
});

/** Words of 10 KB without end, and whether their reader has gone. */
function talker() {
  const state = { said: 0, isLeft: false };
  const service = hostService(ChatService, {
    async *generate() {
      try {
        for (;;) {
          state.said += 1;
          yield { payload: { case: "event", value: { kind: { case: "warning", value: { code: "long", text } } } } };
        }
      } finally {
        state.isLeft = true;
      }
    },
  });
  const text = "x".repeat(10_000);
  return { state, service };
}

const generate = `/${methodPath(ChatService.method.generate)}`;
const parts = [{ content: { case: "text" as const, value: { text: "hello" } } }];
const chatRequest = frame(encodeToBytes(GenerateRequestSchema, { model: "m", messages: [{ role: Role.USER, parts }] }));

/** Waits until nothing has moved for two round trips, in which everything that can move does. */
async function standsStill(session: ClientHttp2Session, count: () => number): Promise<void> {
  for (let before = 0; count() === 0 || count() !== before; ) {
    before = count();
    await new Promise((resolve) => session.ping(resolve));
    await new Promise((resolve) => session.ping(resolve));
  }
}

test("a client that does not read is cut off: its call is cancelled, and its connection goes on", async () => {
  const clock = ownClock();
  const { state, service } = talker();
  const { address } = await serve({ gate: openGate().gate, clock, hosted: [service] });
  const session = await connect(address);
  const stream = session.request(head(generate));
  const ended = new Promise<number>((resolve) => stream.once("close", () => resolve(stream.rstCode)));
  stream.on("error", () => undefined);
  stream.end(chatRequest);
  await standsStill(session, () => state.said);
  clock.pass(5_000);
  clock.pass(60_000);
  expect(state.isLeft).toBe(false);
  // What waits has a second more for each 16 KiB.
  clock.pass(10_000);
  await until(() => state.isLeft);
  stream.resume();
  expect(await ended).toBe(constants.NGHTTP2_CANCEL);
  expect(session.closed).toBe(false);
});

test("a client that reads, however slowly, is not cut off", async () => {
  const clock = ownClock();
  const { state, service } = talker();
  const { address } = await serve({ gate: openGate().gate, clock, hosted: [service] });
  const session = await connect(address);
  const stream = session.request(head(generate));
  stream.end(chatRequest);
  await standsStill(session, () => state.said);
  for (let minute = 0; minute < 5; minute += 1) {
    const before = state.said;
    clock.pass(55_000);
    // All that waits here, so that the window opens again.
    stream.resume();
    await until(() => state.said > before);
    stream.pause();
    await standsStill(session, () => state.said);
    clock.pass(5_000);
    // The server asks for a sign of life each minute; its time must not be over before the answer can come.
    await new Promise((resolve) => session.ping(resolve));
  }
  expect(state.isLeft).toBe(false);
  expect(stream.closed).toBe(false);
});

test("an answer of one message that is not read ends with its call", async () => {
  const clock = ownClock();
  const { gate, takenBytes } = openGate();
  let overs = 0;
  const counted: Gate = {
    ...gate,
    async admit(call) {
      const entry = await gate.admit(call);
      return {
        ...entry,
        over() {
          entry.over();
          overs += 1;
        },
      };
    },
  };
  const { address, asked } = await serve({ gate: counted, clock });
  const session = await connect(address, { initialWindowSize: 0 });
  const answer = ask(session, head(getRoute), frame(routeRequest("routes/a")));
  await until(() => asked.length === 1);
  await new Promise((resolve) => session.ping(resolve));
  clock.pass(5_000);
  clock.pass(50_000);
  expect(overs).toBe(0);
  clock.pass(15_000);
  expect((await answer).code).toBe(constants.NGHTTP2_CANCEL);
  await until(() => overs === 1);
  expect(takenBytes()).toBe(0);
});
