import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { describe, expect, test } from "vitest";
import { CallCancelled } from "../weir-error.ts";
import { opening } from "./opening.ts";
import { all, chunk, failure, type Handlers, textOf, until, ways, whenAborted } from "./ways.ts";

/** Handlers that do nothing but count their calls. */
function countedCalls() {
  let count = 0;
  const handlers: Handlers = {
    getRoute() {
      count += 1;
      return {};
    },
    async *generate() {
      count += 1;
    },
  };
  return { handlers, calls: () => count };
}

// How calls end before they are done, at every door alike.
describe.each(ways)("%s", (_, __, openWay) => {
  const open = opening(openWay);

  describe("deadlines", () => {
    test("a time that has passed calls nobody", async () => {
      const { handlers, calls } = countedCalls();
      const { routes, chat } = await open(handlers);
      const late = { reason: ErrorReason.DEADLINE_EXCEEDED };
      expect(await failure(routes.getRoute({ name: "routes/a" }, { timeoutMs: 0 }))).toMatchObject(late);
      expect(await failure(all(chat.generate({ model: "m" }, { timeoutMs: -5 })))).toMatchObject(late);
      expect(calls()).toBe(0);
    });

    test("unary: fails when the time has passed, and the handler's signal fires", async () => {
      let aborted = false;
      const { routes } = await open({
        async getRoute({ name }, { signal }) {
          if (name === "routes/first") return {};
          await whenAborted(signal).catch(() => (aborted = true));
          return {};
        },
      });
      // The way is open then, and the time is the handler's.
      await routes.getRoute({ name: "routes/first" });
      const start = performance.now();
      const error = await failure(routes.getRoute({ name: "routes/a" }, { timeoutMs: 120 }));
      expect(error).toMatchObject({ reason: ErrorReason.DEADLINE_EXCEEDED });
      expect(performance.now() - start).toBeLessThan(1000);
      await until(() => aborted);
    });

    test("stream: fails in the middle, and the handler's finally runs, also while it waits for the reader", async () => {
      let closed = 0;
      const { chat } = await open({
        async *generate({ user }, { signal }) {
          try {
            yield chunk("a");
            if (user === "wait") await whenAborted(signal);
            for (;;) yield chunk("x".repeat(100_000));
          } finally {
            closed += 1;
          }
        },
      });
      for (const user of ["wait", "yield"]) {
        const stream = chat.generate({ model: "m", user }, { timeoutMs: 120 });
        await stream.next();
        await until(() => closed > (user === "wait" ? 0 : 1));
        expect(
          await failure(
            (async () => {
              for await (const _ of stream);
            })(),
          ),
        ).toMatchObject({ reason: ErrorReason.DEADLINE_EXCEEDED });
      }
    });

    test("time shrinks from hop to hop", async () => {
      const seen: number[] = [];
      const leaf = await open({
        getRoute(_request, context) {
          seen.push(context.timeoutMs() ?? Number.NaN);
          return {};
        },
      });
      const middle = await open({
        async getRoute(request, context) {
          seen.push(context.timeoutMs() ?? Number.NaN);
          await leaf.routes.getRoute(
            { name: request.name },
            { timeoutMs: context.timeoutMs(), signal: context.signal },
          );
          return {};
        },
      });
      await middle.routes.getRoute({ name: "routes/a" }, { timeoutMs: 5000 });
      const [first = 0, second = 0] = seen;
      expect(first).toBeGreaterThan(4000);
      expect(first).toBeLessThanOrEqual(4981);
      expect(second).toBeLessThanOrEqual(first - 18);
    });

    test("without a time there is none", async () => {
      let left: number | undefined = 1;
      const { routes } = await open({
        getRoute(_request, context) {
          left = context.timeoutMs();
          return {};
        },
      });
      await routes.getRoute({ name: "routes/a" });
      expect(left).toBeUndefined();
    });
  });

  describe("cancel", () => {
    test("before the call: nobody is called", async () => {
      const { handlers, calls } = countedCalls();
      const { routes, chat } = await open(handlers);
      const signal = AbortSignal.abort();
      expect(await failure(routes.getRoute({ name: "routes/a" }, { signal }))).toBeInstanceOf(CallCancelled);
      expect(await failure(all(chat.generate({ model: "m" }, { signal })))).toBeInstanceOf(CallCancelled);
      expect(calls()).toBe(0);
    });

    test("unary in the middle", async () => {
      const steps: string[] = [];
      const { routes } = await open({
        async getRoute(_request, { signal }) {
          steps.push("begun");
          await whenAborted(signal).catch(() => steps.push("aborted"));
          return {};
        },
      });
      const hangUp = new AbortController();
      const reply = failure(routes.getRoute({ name: "routes/a" }, { signal: hangUp.signal }));
      await until(() => steps.includes("begun"));
      hangUp.abort();
      expect(await reply).toBeInstanceOf(CallCancelled);
      await until(() => steps.includes("aborted"));
    });

    test.each(["before the first message", "between messages", "while the handler is ahead"])(
      "stream %s: the reader's next fails, the handler's finally runs",
      async (stage) => {
        const steps: string[] = [];
        const { chat } = await open({
          async *generate(_request, { signal }) {
            try {
              steps.push("begun");
              if (stage === "before the first message") await whenAborted(signal);
              yield chunk("a");
              if (stage === "between messages") await whenAborted(signal);
              for (;;) yield chunk("x".repeat(100_000));
            } finally {
              steps.push("closed");
            }
          },
        });
        const hangUp = new AbortController();
        const stream = chat.generate({ model: "m" }, { signal: hangUp.signal });
        if (stage !== "before the first message") await stream.next();
        const next = stage === "while the handler is ahead" ? undefined : failure(stream.next());
        await until(() => steps.includes("begun"));
        hangUp.abort();
        expect(await (next ?? failure(stream.next()))).toBeInstanceOf(CallCancelled);
        await until(() => steps.includes("closed"));
        expect(await stream.next()).toEqual({ done: true, value: undefined });
      },
    );

    test("after the end nothing happens; the handler's own signal has fired by then", async () => {
      let signalled: AbortSignal | undefined;
      const { routes } = await open({
        getRoute(_request, { signal }) {
          signalled = signal;
          return {};
        },
      });
      const hangUp = new AbortController();
      await routes.getRoute({ name: "routes/a" }, { signal: hangUp.signal });
      hangUp.abort();
      await until(() => signalled?.aborted === true);
    });
  });

  describe("a reader that stops early", () => {
    test.each(["at a yield", "in an await"])("runs the finally of a handler that is parked %s", async (place) => {
      const steps: string[] = [];
      const { chat } = await open({
        async *generate(_request, { signal }) {
          try {
            yield chunk("a");
            if (place === "in an await") await whenAborted(signal);
            for (;;) yield chunk("x".repeat(100_000));
          } finally {
            steps.push("closed");
          }
        },
      });
      for await (const message of chat.generate({ model: "m" })) {
        expect(textOf(message)).toBe("a");
        break;
      }
      await until(() => steps.includes("closed"));
    });

    test("has read all there is: next says done, also after an error of its own", async () => {
      const { chat } = await open({
        async *generate() {
          for (let index = 0; index < 5; index += 1) yield chunk(`${index}`);
        },
      });
      const stream = chat.generate({ model: "m" });
      await stream.next();
      expect(await failure(stream.throw(new Error("mine")))).toMatchObject({ message: "mine" });
      expect(await stream.next()).toEqual({ done: true, value: undefined });
      const callback = chat.generate(
        { model: "m" },
        {
          onHeaders() {
            throw new Error("mine");
          },
        },
      );
      expect(await failure(callback.next())).toMatchObject({ reason: ErrorReason.INTERNAL });
      expect(await all(chat.generate({ model: "m" }))).toHaveLength(5);
    });

    test("return settles a pending next", async () => {
      const { chat } = await open({
        async *generate(_request, { signal }) {
          await whenAborted(signal);
        },
      });
      const stream = chat.generate({ model: "m" });
      const next = stream.next();
      await stream.return();
      expect(await next).toEqual({ done: true, value: undefined });
      expect(await stream.next()).toEqual({ done: true, value: undefined });
    });
  });
});
