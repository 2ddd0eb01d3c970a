import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { afterEach, describe, expect, test } from "vitest";
import {
  event,
  eventHead,
  eventually,
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

const requestId = /^req_[0-9a-f]{32}$/;

describe("a stream", () => {
  test("has the headers of server-sent events and every event", async () => {
    const edge = await startEdge();
    const response = await edge.post(helloStream);
    expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    expect(response.headers.get("cache-control")).toBe("no-cache");
    expect(response.headers.get("x-accel-buffering")).toBe("no");
    expect(response.headers.get("x-request-id")).toMatch(requestId);
    expect(response.headers.get("x-weir-model")).toBe("demo/small");
    expect(await response.text()).toBe('data: {"n":1}\n\ndata: {"n":2}\n\ndata: [DONE]\n\n');
  });

  test("brings the first event while the second is still to come", async () => {
    const { promise: gate, resolve: more } = Promise.withResolvers<void>();
    const edge = await startEdge({
      async *chat() {
        yield wire({ head: eventHead, data: event("1") });
        await gate;
        yield wire({ data: event("[DONE]"), tail: { usage } });
      },
    });
    const response = await edge.post(helloStream);
    const reader = response.body?.getReader();
    const first = await reader?.read();
    expect(Buffer.from(first?.value ?? []).toString()).toBe("data: 1\n\n");
    more();
    const second = await reader?.read();
    expect(Buffer.from(second?.value ?? []).toString()).toBe("data: [DONE]\n\n");
    expect((await reader?.read())?.done).toBe(true);
  });

  test("that fails before its first event is an error with a status", async () => {
    const edge = await startEdge({
      async *chat() {
        throw new WeirError(ErrorReason.PROVIDER_UNAVAILABLE);
      },
    });
    const response = await edge.post(helloStream);
    expect(response.status).toBe(503);
    expect(response.headers.get("content-type")).toBe("application/json; charset=utf-8");
    expect(await response.json()).toMatchObject({ error: { type: "server_error" } });
  });

  test.each([
    ["throws", new WeirError(ErrorReason.PROVIDER_TIMEOUT), "The provider of this model did not answer in time."],
    ["ends without its tail", undefined, "The provider broke off its answer; what came before is incomplete."],
    ["hits a defect", new Error("secret detail"), "The gateway failed; quote the request id when you report it."],
  ])(
    "that %s after its first event ends with an error event, no [DONE] and a cut connection",
    async (_, thrown, text) => {
      const edge = await startEdge({
        async *chat() {
          yield wire({ head: eventHead, data: event("1") });
          if (thrown !== undefined) throw thrown;
        },
      });
      const raw = await openRaw(edge.port);
      raw.socket.write(rawPost(edge.key, JSON.stringify(helloStream)));
      const whole = await raw.whole();
      expect(whole).toContain("data: 1\n\n");
      expect(whole).toContain(`data: {"error":{"message":"${text}"`);
      expect(whole).not.toContain("[DONE]");
      // The last chunk of chunked encoding would make the answer look whole.
      expect(whole).not.toMatch(/\r\n0\r\n\r\n$/);
      await expect(edge.post(helloStream).then((response) => response.text())).rejects.toThrow(/terminated/);
      expect(edge.logs.join("")).not.toContain("secret detail");
    },
  );

  test("to a client of HTTP/1.0 that fails is reset, since its end would read as complete", async () => {
    const edge = await startEdge({
      async *chat() {
        yield wire({ head: eventHead, data: event("1") });
        throw new WeirError(ErrorReason.PROVIDER_TIMEOUT);
      },
    });
    const raw = await openRaw(edge.port);
    raw.socket.write(rawPost(edge.key, JSON.stringify(helloStream)).replace("HTTP/1.1", "HTTP/1.0"));
    await raw.whole();
    expect(raw.ended()).toBe("reset");
  });

  test("shows signs of life while it waits, first after headers were held back", async () => {
    const { promise: gate, resolve: more } = Promise.withResolvers<void>();
    const edge = await startEdge({
      settings: { holdHeadersMs: 100, heartbeatMs: 100 },
      async *chat() {
        await gate;
        yield wire({ head: eventHead, data: event("1") });
        yield wire({ data: event("[DONE]"), tail: { usage } });
      },
    });
    const raw = await openRaw(edge.port);
    raw.socket.write(rawPost(edge.key, JSON.stringify(helloStream)));
    const early = await raw.until(/: ping\n\n/);
    expect(early).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*: waiting\n\n[^]*: ping\n\n/);
    more();
    expect(await raw.until(/\[DONE\]/)).toContain("data: 1\n\n");
    raw.socket.destroy();
  });

  test.each([
    ["fails", undefined, "No provider of this model answers."],
    ["is refused by the provider", { ...jsonHead, status: 400 }, "The provider of this model refused the request."],
  ])("that %s after its headers were sent for want of content says so in an event", async (_, head, text) => {
    const { promise: gate, resolve: more } = Promise.withResolvers<void>();
    const edge = await startEdge({
      settings: { holdHeadersMs: 50 },
      async *chat() {
        await gate;
        if (head === undefined) throw new WeirError(ErrorReason.PROVIDER_UNAVAILABLE);
        yield wire({ head, data: Buffer.from("{}"), tail: {} });
      },
    });
    const raw = await openRaw(edge.port);
    raw.socket.write(rawPost(edge.key, JSON.stringify(helloStream)));
    await raw.until(/: waiting/);
    more();
    const whole = await raw.whole();
    expect(whole).toContain(`data: {"error":{"message":"${text}"`);
    expect(whole).not.toContain("[DONE]");
  });

  test("whose headers left for want of content tells its warnings before its content", async () => {
    const { promise: gate, resolve: more } = Promise.withResolvers<void>();
    const warning = { code: "field_dropped", param: "seed", text: "" };
    const edge = await startEdge({
      settings: { holdHeadersMs: 50 },
      async *chat() {
        await gate;
        yield wire({ head: { ...eventHead, warnings: [warning] }, data: event("1") });
        yield wire({ data: event("[DONE]"), tail: { usage } });
      },
    });
    const raw = await openRaw(edge.port);
    raw.socket.write(rawPost(edge.key, JSON.stringify(helloStream)));
    await raw.until(/: waiting/);
    more();
    expect(await raw.until(/\[DONE\]/)).toMatch(/: weir-warnings field_dropped seed\n\n[^]*data: 1\n\n/);
    raw.socket.destroy();
  });

  test("shows signs of life between events", async () => {
    const edge = await startEdge({
      settings: { heartbeatMs: 100 },
      async *chat({ signal }) {
        yield wire({ head: eventHead, data: event("1") });
        await untilCancelled(signal);
      },
    });
    const raw = await openRaw(edge.port);
    raw.socket.write(rawPost(edge.key, JSON.stringify(helloStream)));
    await raw.until(/data: 1\n\n[^]*: ping\n\n[^]*: ping\n\n/);
    raw.socket.destroy();
    await eventually(() => edge.calls[0]?.signal.aborted === true);
  });
});
