import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { describe, expect, test } from "vitest";
import { requestMetadata } from "../call.ts";
import type { Defect } from "../serving.ts";
import { WeirError } from "../weir-error.ts";
import { opening } from "./opening.ts";
import { all, chunk, failure, textOf, ways } from "./ways.ts";

// What every door owes to its callers and handlers, whichever way the calls go.
describe.each(ways)("%s", (_, door, openWay) => {
  const open = opening(openWay);

  test("unary: request, reply and metadata both ways", async () => {
    const { routes } = await open({
      getRoute(request, context) {
        expect(requestMetadata(context, "traceparent")).toBe("00-1-2-01");
        expect(context.requestHeader.get("weir-principal-bin")).toBe("AAEC/w==");
        expect(context.method.name).toBe("GetRoute");
        context.responseHeader.set("x-served-by", "here");
        context.responseTrailer.set("x-cost", "7");
        return { route: { name: request.name, targets: [{ provider: "p", model: "m" }] } };
      },
    });
    const told: unknown[] = [];
    const reply = await routes.getRoute(
      { name: "routes/a" },
      {
        metadata: { traceparent: "00-1-2-01", "weir-principal-bin": "AAEC/w==" },
        onHeaders: (headers) => told.push(headers["x-served-by"]),
        onTrailers: (trailers) => told.push(trailers["x-cost"]),
      },
    );
    expect(reply.$typeName).toBe("weir.routing.v1.GetRouteResponse");
    expect(reply.route?.name).toBe("routes/a");
    expect(reply.route?.targets[0]?.model).toBe("m");
    expect(told).toEqual(["here", "7"]);
  });

  test("stream: order, headers before the first message, trailers at the end", async () => {
    const { chat } = await open({
      async *generate({ model }, context) {
        context.responseHeader.set("x-model", model);
        for (let index = 0; index < 500; index += 1) {
          if (index % 50 === 0) await new Promise(setImmediate);
          yield chunk(`${index}`);
        }
        context.responseTrailer.set("x-count", "500");
      },
    });
    const told: unknown[] = [];
    const stream = chat.generate(
      { model: "m" },
      {
        onHeaders: (headers) => told.push(headers["x-model"]),
        onTrailers: (trailers) => told.push(trailers["x-count"]),
      },
    );
    const texts: string[] = [];
    for await (const message of stream) {
      if (texts.length === 0) expect(told).toEqual(["m"]);
      texts.push(textOf(message));
    }
    expect(texts).toEqual(Array.from({ length: 500 }, (_, index) => `${index}`));
    expect(told).toEqual(["m", "500"]);
    expect(await stream.next()).toEqual({ done: true, value: undefined });
  });

  test("a stream without messages ends, and tells its headers", async () => {
    const { chat } = await open({ async *generate() {} });
    let headers = 0;
    expect(await all(chat.generate({ model: "m" }, { onHeaders: () => (headers += 1) }))).toEqual([]);
    expect(headers).toBe(1);
  });

  test("a stream begins with the first next, not before", async () => {
    let begun = 0;
    const { chat } = await open({
      async *generate() {
        begun += 1;
        yield chunk("a");
      },
    });
    const stream = chat.generate({ model: "m" });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(begun).toBe(0);
    await stream.return();
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    expect(begun).toBe(0);
  });

  test("next may be called again before it has answered", async () => {
    const { chat } = await open({
      async *generate() {
        for (const text of ["a", "b", "c"]) {
          await new Promise(setImmediate);
          yield chunk(text);
        }
      },
    });
    const stream = chat.generate({ model: "m" });
    const results = await Promise.all([stream.next(), stream.next(), stream.next(), stream.next()]);
    expect(results.map((result) => (result.done ? "end" : textOf(result.value)))).toEqual(["a", "b", "c", "end"]);
  });

  describe("errors", () => {
    const limited = () =>
      new WeirError(ErrorReason.RATE_LIMITED, {
        text: "Slow down, grüezi.",
        metadata: { limit: "tokens" },
        retryAfterMs: 1500,
      });

    test("unary: reason, text, metadata and delay arrive", async () => {
      const { routes } = await open({
        getRoute() {
          throw limited();
        },
      });
      const error = await failure(routes.getRoute({ name: "routes/a" }));
      expect(error).toBeInstanceOf(WeirError);
      expect(error).toMatchObject({
        reason: ErrorReason.RATE_LIMITED,
        message: "Slow down, grüezi.",
        metadata: { limit: "tokens" },
        retryAfterMs: 1500,
      });
    });

    test("stream: what was sent before the error is read before it", async () => {
      const { chat } = await open({
        async *generate() {
          for (let index = 0; index < 40; index += 1) yield chunk(`${index}`);
          throw limited();
        },
      });
      const texts: string[] = [];
      const error = await failure(
        (async () => {
          for await (const message of chat.generate({ model: "m" })) {
            texts.push(textOf(message));
            await new Promise(setImmediate);
          }
        })(),
      );
      expect(texts).toEqual(Array.from({ length: texts.length }, (_, index) => `${index}`));
      // grpc-js drops what it has received and not yet handed over when a failed status arrives.
      if (door !== "grpc") expect(texts).toHaveLength(40);
      expect(error).toMatchObject({ reason: ErrorReason.RATE_LIMITED, retryAfterMs: 1500 });
    });

    test("what is no WeirError is reported as a defect, and its text stays here", async () => {
      const defects: Defect[] = [];
      const { routes, chat } = await open(
        {
          getRoute: () => Promise.reject(new Error("password is hunter2")),
          async *generate() {
            yield chunk("a");
            throw new TypeError("secret");
          },
        },
        { onDefect: (defect) => defects.push(defect) },
      );
      const error = await failure(routes.getRoute({ name: "routes/a" }));
      expect(error).toMatchObject({ reason: ErrorReason.INTERNAL });
      expect(error.message).not.toContain("hunter2");
      expect(await failure(all(chat.generate({ model: "m" })))).toMatchObject({ reason: ErrorReason.INTERNAL });
      expect(defects.map(({ method }) => method)).toEqual([
        "weir.routing.v1.RouteService/GetRoute",
        "weir.chat.v1.ChatService/Generate",
      ]);
    });

    test("a method that is not implemented", async () => {
      const { routes, chat } = await open({});
      const expected = { reason: ErrorReason.METHOD_NOT_ALLOWED };
      expect(await failure(routes.getRoute({ name: "routes/a" }))).toMatchObject(expected);
      expect(await failure(all(chat.generate({ model: "m" })))).toMatchObject(expected);
    });

    test("a request that breaks its schema never reaches the handler; the text names the rule, not the value", async () => {
      let called = 0;
      const { routes } = await open({
        getRoute() {
          called += 1;
          return {};
        },
      });
      const error = await failure(routes.getRoute({ name: "my secret" }));
      expect(error).toMatchObject({ reason: ErrorReason.INVALID_REQUEST, metadata: { param: "name" } });
      expect(error.message).toContain("string.prefix");
      expect(error.message).not.toContain("my secret");
      expect(called).toBe(0);
    });

    test("a service that trusts the mesh checks only what strangers send", async () => {
      const { routes } = await open({ getRoute: ({ name }) => ({ route: { name } }) }, { trustsMesh: true });
      const call = routes.getRoute({ name: "odd" });
      if (door === "grpc") expect(await failure(call)).toMatchObject({ reason: ErrorReason.INVALID_REQUEST });
      else expect((await call).route?.name).toBe("odd");
    });
  });

  describe("limits", () => {
    const messageBytesMax = 1_000_000;

    test("a request that is too large is refused and reaches nobody", async () => {
      let called = 0;
      const { chat } = await open(
        {
          async *generate() {
            called += 1;
          },
        },
        { messageBytesMax },
      );
      const wire = { dialect: Dialect.OPENAI_CHAT, body: Buffer.alloc(messageBytesMax), model: { start: 1, end: 2 } };
      expect(await failure(all(chat.generate({ model: "m", wire })))).toMatchObject({
        reason: ErrorReason.REQUEST_TOO_LARGE,
        metadata: { bytes_max: "1000000" },
      });
      expect(called).toBe(0);
    });

    test("an answer that is too large fails its call, and no other", async () => {
      const { chat } = await open(
        {
          async *generate({ model }) {
            yield chunk("x".repeat(model === "big" ? messageBytesMax : 10));
          },
        },
        { messageBytesMax },
      );
      expect(await failure(all(chat.generate({ model: "big" })))).toMatchObject({ reason: ErrorReason.INTERNAL });
      expect(await all(chat.generate({ model: "m" }))).toEqual(["xxxxxxxxxx"]);
    });

    test("large messages below the limit go both ways unharmed", async () => {
      const body = Buffer.alloc(900_001, "0123456789");
      const { chat } = await open(
        {
          async *generate({ wire }) {
            yield { payload: { case: "wire", value: { data: wire?.body ?? Buffer.alloc(0) } } };
            yield chunk("end");
            yield { payload: { case: "wire", value: { data: wire?.body ?? Buffer.alloc(0) } } };
          },
        },
        { messageBytesMax },
      );
      const texts = await all(
        chat.generate({ model: "m", wire: { dialect: Dialect.OPENAI_CHAT, body, model: { start: 1, end: 2 } } }),
      );
      expect(texts.map((text) => text.length)).toEqual([900_001, 3, 900_001]);
      expect(texts[0] === body.toString() && texts[2] === body.toString()).toBe(true);
    });
  });

  test("a slow reader holds its own producer back, and nobody else", async () => {
    let produced = 0;
    const { chat, routes } = await open({
      async *generate({ user }) {
        for (let index = 0; index < (user === "slow" ? 2000 : 50); index += 1) {
          if (user === "slow") produced += 1;
          yield chunk("x".repeat(10_000));
        }
      },
      getRoute: ({ name }) => ({ route: { name } }),
    });
    const slow = chat.generate({ model: "m", user: "slow" });
    await slow.next();
    const neighbours = await Promise.all(
      Array.from({ length: 20 }, () => all(chat.generate({ model: "m", user: "fast" }))),
    );
    expect(neighbours.every((texts) => texts.length === 50)).toBe(true);
    for (let index = 0; index < 20; index += 1) await routes.getRoute({ name: `routes/${index}` });
    // local hands over one by one, the link's window holds 128 KiB; HTTP/2 and the streams above it hold more.
    expect(produced).toBeLessThanOrEqual({ local: 2, link: 16, grpc: 200 }[door]);
    let read = 1;
    for await (const _ of slow) read += 1;
    expect(read).toBe(2000);
  });

  test("many calls at once keep apart", async () => {
    const { chat } = await open({
      async *generate({ user }) {
        for (let index = 0; index < 20; index += 1) {
          if (index % 7 === 3) await new Promise(setImmediate);
          yield chunk(`${user}-${index}`);
        }
      },
    });
    const replies = await Promise.all(
      Array.from({ length: 200 }, (_, user) => all(chat.generate({ model: "m", user: `${user}` }))),
    );
    replies.forEach((texts, user) =>
      expect(texts).toEqual(Array.from({ length: 20 }, (_, index) => `${user}-${index}`)),
    );
  });
});
