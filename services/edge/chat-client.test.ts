import { afterEach, describe, expect, test } from "vitest";
import {
  event,
  eventHead,
  eventually,
  hello,
  helloStream,
  jsonHead,
  openRaw,
  rawPost,
  startEdge,
  untilCancelled,
  usage,
  wire,
  stopEdges,
} from "./testing/harness.ts";

afterEach(stopEdges);

describe("a client that leaves", () => {
  test("before the first message cancels the call", async () => {
    const edge = await startEdge({
      async *chat({ signal }) {
        await untilCancelled(signal);
      },
    });
    const leaving = new AbortController();
    const response = edge.post(hello, { signal: leaving.signal });
    await eventually(() => edge.calls.length === 1);
    leaving.abort();
    await expect(response).rejects.toThrow("aborted");
    await eventually(() => edge.calls[0]?.signal.aborted === true);
  });

  test("in the middle of a stream cancels the call, and its reservation stands", async () => {
    const edge = await startEdge({
      async *chat({ signal }) {
        yield wire({ head: eventHead, data: event("1") });
        await untilCancelled(signal);
      },
    });
    const leaving = new AbortController();
    const response = await edge.post({ ...helloStream, max_tokens: 500 }, { signal: leaving.signal });
    await response.body?.getReader().read();
    leaving.abort();
    await eventually(() => edge.calls[0]?.signal.aborted === true);
    const next = await fetch(`${edge.url}/v1/models`, { headers: { "api-key": edge.key } });
    expect(Number(next.headers.get("x-ratelimit-remaining-tokens"))).toBeLessThan(10_000_000 - 500);
  });

  test("behind another request of its connection cancels both calls", async () => {
    const edge = await startEdge({
      async *chat({ signal }) {
        await untilCancelled(signal);
      },
    });
    const raw = await openRaw(edge.port);
    const request = rawPost(edge.key, JSON.stringify(hello));
    raw.socket.write(request + request);
    await eventually(() => edge.calls.length === 2);
    raw.socket.destroy();
    await eventually(() => edge.calls.every((call) => call.signal.aborted));
  });

  test("after a whole answer cancels nothing", async () => {
    let finished = false;
    const edge = await startEdge({
      async *chat() {
        yield wire({ head: jsonHead, data: Buffer.from("{}"), tail: { usage } });
        await new Promise((resolve) => setTimeout(resolve, 50));
        finished = true;
      },
    });
    const response = await edge.post(hello, { headers: { connection: "close" } });
    await response.text();
    await eventually(() => finished);
    expect(edge.calls[0]?.signal.aborted).toBe(false);
  });
});

describe("a client that does not read", () => {
  test("stops the pull, within bounds, and is cut after a while", async () => {
    let pulled = 0;
    const piece = event("x".repeat(50_000));
    const edge = await startEdge({
      settings: { writeStallMs: 700, heartbeatMs: 100 },
      async *chat() {
        yield wire({ head: eventHead, data: piece });
        for (let index = 0; index < 2_000; index++) {
          pulled += piece.length;
          yield wire({ data: piece });
          if (index % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
        }
        yield wire({ data: event("[DONE]"), tail: { usage } });
      },
    });
    const raw = await openRaw(edge.port);
    raw.socket.pause();
    raw.socket.write(rawPost(edge.key, JSON.stringify(helloStream)));
    await eventually(() => edge.calls[0]?.signal.aborted === true);
    // What the kernel buffers on both sides of loopback, and no more.
    expect(pulled).toBeLessThan(20_000_000);
    raw.socket.destroy();
  });

  test("fast, but does read, gets all of a large answer however long it takes", async () => {
    const body = Buffer.alloc(24_000_000, "x");
    const edge = await startEdge({
      settings: { writeStallMs: 300 },
      async *chat() {
        yield wire({ head: jsonHead, data: body, tail: { usage } });
      },
    });
    const raw = await openRaw(edge.port);
    const startMs = performance.now();
    raw.socket.on("data", () => {
      raw.socket.pause();
      setTimeout(() => raw.socket.resume(), 3);
    });
    raw.socket.write(rawPost(edge.key, JSON.stringify(hello), ["Connection: close"]));
    const whole = await raw.whole();
    expect(whole.length).toBeGreaterThan(body.length);
    expect(performance.now() - startMs).toBeGreaterThan(800);
  });

  test("for a moment gets everything all the same", async () => {
    const piece = event("x".repeat(50_000));
    const count = 300;
    const edge = await startEdge({
      async *chat() {
        yield wire({ head: eventHead, data: piece });
        for (let index = 1; index < count; index++) yield wire({ data: piece });
        yield wire({ data: event("[DONE]"), tail: { usage } });
      },
    });
    const response = await edge.post(helloStream);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect((await response.text()).length).toBe(piece.length * count + "data: [DONE]\n\n".length);
  });
});
