import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { CircuitState } from "@weir/gen/weir/routing/v1/route_service_pb";
import { startTelemetry } from "@weir/kit/telemetry/setup";
import { CallCancelled } from "@weir/kit/weir-error";
import { expect, test, vi } from "vitest";
import {
  answer,
  error,
  failure,
  hang,
  head,
  milliseconds,
  more,
  outage,
  read,
  setup,
  tail,
} from "./testing/harness.ts";
test("an answer passes through, piece by piece, and says how many attempts it took", async () => {
  const { ask, calls } = setup({ a: ["answer"] });
  expect(await ask()).toEqual({ text: "ab", attempts: 1 });
  expect(calls[0]?.request).toMatchObject({ alias: "alias", allowUnpriced: true, request: { model: "alias" } });
  expect(milliseconds(calls[0]?.request.timeouts?.firstToken)).toBe(120_000);
  expect(calls[0]?.timeoutMs).toBeGreaterThan(600_000);
});

test("principal, request id and trace go down unchanged", async () => {
  const { ask, calls } = setup({ a: ["answer"] });
  const metadata = {
    "weir-principal-bin": "CgR0ZW4x",
    "weir-request-id": "req-1",
    traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    tracestate: "a=b",
    other: "stays here",
  };
  await ask({ metadata });
  expect(calls[0]?.request.requestId).toBe("req-1");
  const { other: _, ...below } = metadata;
  for (const [name, value] of Object.entries(below)) expect(calls[0]?.metadata(name)).toBe(value);
  expect(calls[0]?.metadata("other")).toBeUndefined();
});

test("before the first content another target takes over, in the route's order, each attempt with its own id", async () => {
  const { ask, calls, tried } = setup({ a: [outage()], b: [outage()], c: ["answer"] });
  expect(await ask()).toEqual({ text: "ab", attempts: 3 });
  expect(tried()).toBe("a b c");
  expect(new Set(calls.map(({ request }) => request.attemptId)).size).toBe(3);
  expect(new Set(calls.map(({ request }) => request.requestId)).size).toBe(1);
});

test("an answer without any message is a failure too", async () => {
  const { ask, tried } = setup({ a: [async function* () {}], b: ["answer"] });
  expect((await ask()).attempts).toBe(2);
  expect(tried()).toBe("a b");
});

test.each([
  ["STREAM_TRUNCATED", error(ErrorReason.STREAM_TRUNCATED), ErrorReason.STREAM_TRUNCATED],
  ["PROVIDER_TIMEOUT", error(ErrorReason.PROVIDER_TIMEOUT), ErrorReason.PROVIDER_TIMEOUT],
  ["a pool that went away", error(ErrorReason.OVERLOADED), ErrorReason.STREAM_TRUNCATED],
  ["PROVIDER_UNAVAILABLE", outage(), ErrorReason.STREAM_TRUNCATED],
  ["an end without a tail", undefined, ErrorReason.STREAM_TRUNCATED],
])("after the first content nothing is tried again: %s", async (_, thrown, reason) => {
  const { generate, tried } = setup({
    a: [
      async function* () {
        yield head("a");
        if (thrown) throw thrown;
      },
    ],
    b: ["answer"],
  });
  const stream = generate();
  expect((await stream.next()).done).toBe(false);
  const told = await failure(stream.next());
  expect(told.reason).toBe(reason);
  expect(told.message).not.toContain("CANARY");
  expect(tried()).toBe("a");
  expect((await stream.next()).done).toBe(true);
});

test.each([
  ErrorReason.PROVIDER_REJECTED,
  ErrorReason.STORE_UNAVAILABLE,
  ErrorReason.BUDGET_EXHAUSTED,
  ErrorReason.INTERNAL,
])("reason %i ends the request at the first target", async (reason) => {
  const { ask, tried } = setup({ a: [error(reason)], b: ["answer"] });
  expect((await failure(ask())).reason).toBe(reason);
  expect(tried()).toBe("a");
});

test("when all fail: no more attempts than allowed, the same target only after a pause, and no provider's words", async () => {
  const { ask, tried, clock } = setup({ a: [outage()], b: [outage()] });
  const asked = failure(ask());
  await vi.waitFor(() => expect(clock.timers).toBe(1));
  expect(tried()).toBe("a b");
  clock.advance(49);
  expect(clock.timers).toBe(1);
  clock.advance(1); // Half of 100 ms, says the random number.
  const told = await asked;
  expect(tried()).toBe("a b a");
  expect(told.reason).toBe(ErrorReason.PROVIDER_UNAVAILABLE);
  expect(told.message).not.toContain("CANARY");
});

test("a credential that was refused is not tried again, and parks its target", async () => {
  const refused = error(ErrorReason.PROVIDER_UNAVAILABLE, { metadata: { cause: "credential" } });
  const { ask, tried, health } = setup({ a: [refused], b: ["answer"] });
  await ask();
  await ask();
  expect(tried()).toBe("a b b");
  expect(await health()).toEqual({ a: CircuitState.OPEN, b: CircuitState.CLOSED });
  const alone = setup({ a: [refused] });
  expect((await failure(alone.ask())).metadata.cause).toBe("credential");
  expect(alone.tried()).toBe("a");
});

test("a pool that never ends an attempt is given up, and the target judged by it", async () => {
  const { ask, health } = setup(
    {
      a: [
        (signal) =>
          (async function* () {
            await hang(signal);
            yield head();
          })(),
      ],
    },
    {
      router: { circuitFailures: 1, attemptsMax: 1, timeouts: { total: durationFromMs(1) } },
    },
  );
  expect(await failure(ask())).toMatchObject({ reason: ErrorReason.PROVIDER_TIMEOUT, metadata: { timer: "total" } });
  expect((await health()).a).toBe(CircuitState.OPEN);
});

test("no retry beyond the budget", async () => {
  const { ask, tried } = setup(
    { a: [outage()], b: ["answer"] },
    { router: { retryPercent: 0, retriesPerSecondMin: 0 } },
  );
  expect((await failure(ask())).reason).toBe(ErrorReason.PROVIDER_UNAVAILABLE);
  expect(tried()).toBe("a");
});

test("law: when half of all attempts fail, upstream calls stay within 1.2 times the requests and the minimum", async () => {
  let n = 0;
  const { ask, calls, clock } = setup(
    {
      a: [
        async function* () {
          n += 1;
          if (n % 2 === 0) throw outage();
          yield* answer();
        },
      ],
    },
    { router: { retriesPerSecondMin: 1, attemptsMax: 3 } },
  );
  let answered = 0;
  for (let second = 0; second < 40; second += 1) {
    const asked = Array.from({ length: 50 }, () =>
      ask().then(
        () => (answered += 1),
        () => undefined,
      ),
    );
    const done = Promise.all(asked);
    let settled = false;
    void done.then(() => (settled = true));
    let rest = 1_000;
    while (!settled) {
      await new Promise((resolve) => setImmediate(resolve));
      const step = Math.min(rest, 100);
      clock.advance(step);
      rest -= step;
    }
    clock.advance(rest);
  }
  expect(calls.length).toBeGreaterThan(2_000 * 1.1);
  expect(calls.length).toBeLessThanOrEqual(2_000 * 1.2 + 5 * 10);
  expect(answered).toBeGreaterThan(1_000);
});

test("a target that keeps failing is left out, probed once when its time is over, and comes back", async () => {
  let release = (): void => undefined;
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { ask, tried, clock, health, calls } = setup(
    {
      a: [
        outage(),
        outage(),
        async function* () {
          await held;
          yield* answer();
        },
        "answer",
      ],
      b: ["answer"],
    },
    { router: { circuitFailures: 2 } },
  );
  for (let n = 0; n < 4; n += 1) await ask();
  expect(tried()).toBe("a b a b b b");
  expect((await health()).a).toBe(CircuitState.OPEN);
  clock.advance(10_000);
  calls.length = 0;
  const probe = ask();
  await Promise.all([ask(), ask()]);
  expect(tried()).toBe("a b b");
  expect((await health()).a).toBe(CircuitState.HALF_OPEN);
  release();
  await probe;
  expect((await health()).a).toBe(CircuitState.CLOSED);
  await ask();
  expect(tried()).toBe("a b b a");
});

test("a probe that begins to answer lets others in before it has ended", async () => {
  const { generate, ask, clock, health } = setup(
    {
      a: [
        outage(),
        async function* (signal) {
          yield head();
          await hang(signal);
        },
        "answer",
      ],
    },
    { router: { circuitFailures: 1, attemptsMax: 1 } },
  );
  await failure(ask());
  clock.advance(10_000);
  const probe = generate();
  await probe.next();
  expect((await health()).a).toBe(CircuitState.CLOSED);
  expect((await ask()).attempts).toBe(1);
  await probe.return();
});

test("a provider's refusal that passes through as an answer is no sign of health", async () => {
  const { ask, health } = setup(
    {
      a: [
        outage(),
        async function* () {
          yield head("no", 400);
          yield tail();
        },
        outage(),
      ],
    },
    { router: { circuitFailures: 2, attemptsMax: 1 } },
  );
  await failure(ask());
  expect((await ask()).text).toBe("no");
  await failure(ask());
  expect((await health()).a).toBe(CircuitState.OPEN);
});

test("when every circuit is open a request is tried all the same", async () => {
  const { ask, tried, calls } = setup({ a: [outage(), "answer"] }, { router: { circuitFailures: 1, attemptsMax: 1 } });
  await failure(ask());
  calls.length = 0;
  expect((await ask()).text).toBe("ab");
  expect(tried()).toBe("a");
});

test("a caller who is at fault opens no circuit", async () => {
  const { ask, health } = setup({ a: [error(ErrorReason.PROVIDER_REJECTED)] }, { router: { circuitFailures: 1 } });
  for (let n = 0; n < 5; n += 1) await failure(ask());
  expect(await health()).toEqual({ a: CircuitState.CLOSED });
});

test("an answer that breaks off counts against its target", async () => {
  const { ask, health } = setup(
    {
      a: [
        async function* () {
          yield head();
        },
      ],
    },
    { router: { circuitFailures: 2 } },
  );
  await failure(ask());
  expect((await health()).a).toBe(CircuitState.CLOSED);
  await failure(ask());
  expect((await health()).a).toBe(CircuitState.OPEN);
});

test("the caller's deadline shortens the timers, and its timeouts do not count against the target", async () => {
  const late = error(ErrorReason.PROVIDER_TIMEOUT, { metadata: { timer: "first_token" } });
  const { ask, calls, health } = setup({ a: [late] }, { router: { circuitFailures: 1, attemptsMax: 1 } });
  await failure(ask({ timeoutMs: 30_000 }));
  const timeouts = calls[0]?.request.timeouts;
  expect(calls[0]?.timeoutMs).toBeLessThanOrEqual(30_000);
  expect(milliseconds(timeouts?.total)).toBeLessThanOrEqual(30_000);
  expect(milliseconds(timeouts?.firstToken)).toBeGreaterThan(29_000);
  expect(milliseconds(timeouts?.connect)).toBe(5_000);
  expect((await health()).a).toBe(CircuitState.CLOSED);
});

test.each(["first message", "later message"] as const)(
  "leaving while a %s is awaited stops the attempt",
  async (stage) => {
    const { generate, calls, ended, health } = setup(
      {
        a: [
          async function* (signal) {
            if (stage === "later message") yield head();
            await hang(signal);
          },
        ],
        b: ["answer"],
      },
      { router: { circuitFailures: 1 } },
    );
    const leave = new AbortController();
    const stream = generate({ signal: leave.signal });
    if (stage === "later message") await stream.next();
    const pending = stream.next();
    await vi.waitFor(() => expect(calls).toHaveLength(1));
    leave.abort();
    await expect(pending).rejects.toBeInstanceOf(CallCancelled);
    await vi.waitFor(() => expect(ended).toEqual(["a"]));
    expect(calls).toHaveLength(1);
    expect((await health()).a).toBe(CircuitState.CLOSED);
  },
);

test("a reader that stops early stops the attempt", async () => {
  const { generate, ended } = setup({
    a: [
      async function* (signal) {
        yield head();
        yield more("b");
        await hang(signal);
      },
    ],
  });
  for await (const _ of generate()) break;
  await vi.waitFor(() => expect(ended).toEqual(["a"]));
});

test("a probe whose caller leaves gives its place back", async () => {
  const { generate, ask, clock, tried, calls } = setup(
    {
      a: [
        outage(),
        (signal) =>
          (async function* () {
            await hang(signal);
            yield head();
          })(),
        "answer",
      ],
      b: ["answer"],
    },
    { router: { circuitFailures: 1 } },
  );
  await ask();
  clock.advance(10_000);
  calls.length = 0;
  const leave = new AbortController();
  const pending = generate({ signal: leave.signal }).next();
  await vi.waitFor(() => expect(calls).toHaveLength(1));
  leave.abort();
  await expect(pending).rejects.toBeInstanceOf(CallCancelled);
  expect((await ask()).attempts).toBe(1);
  expect(tried()).toBe("a a");
});

test("a conversation without messages and an unknown alias are refused before anything is called", async () => {
  const { chat, generate, tried } = setup({ a: ["answer"] });
  const canonical = await failure(read(chat.generate({ model: "alias" })));
  expect(canonical).toMatchObject({ reason: ErrorReason.INVALID_REQUEST, metadata: { param: "messages" } });
  expect((await failure(read(generate({}, "nobody")))).metadata).toEqual({ model: "nobody" });
  expect(tried()).toBe("");
});

test("routes are listed by name, and one alias is found as a request would find it", async () => {
  const target = { provider: "a", model: "m" };
  const { routes } = setup(
    {},
    { aliases: { zebra: { targets: [target] }, "a/*": { targets: [{ provider: "a" }], allowUnpriced: true } } },
  );
  const { routes: list } = await routes.listRoutes({});
  expect(list.map((route) => route.name)).toEqual(["routes/a/*", "routes/zebra"]);
  const { route } = await routes.getRoute({ name: "routes/a/gpt" });
  expect(route).toMatchObject({ alias: "a/gpt", allowUnpriced: true, targets: [{ provider: "a", model: "gpt" }] });
  expect((await failure(routes.getRoute({ name: "routes/none" }))).reason).toBe(ErrorReason.MODEL_NOT_FOUND);
});

test("attempts, fallbacks, denials and circuits are counted, by provider and never by model", async () => {
  const telemetry = await startTelemetry({ service: "router", version: "0" });
  const { ask } = setup(
    { a: [outage()], b: ["answer"] },
    { router: { retriesPerSecondMin: 0, retryPercent: 50, circuitFailures: 2 } },
    telemetry.meter,
  );
  await failure(ask()); // Half a retry: none.
  await ask();
  const text = await telemetry.renderMetrics();
  for (const line of [
    'router_attempts_total{provider="a",outcome="provider_unavailable"} 2',
    'router_attempts_total{provider="b",outcome="ok"} 1',
    'router_fallbacks_total{provider="b"} 1',
    "router_retries_denied_total 1",
    'router_circuit_changes_total{provider="a",state="open"} 1',
  ]) {
    expect(text).toContain(`${line}\n`);
  }
  await telemetry.shutdown();
});
