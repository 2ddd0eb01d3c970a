import fc from "fast-check";
import { expect, test } from "vitest";
import { type CallReport, type CircuitState, createHealth, type FailureKind } from "./health.ts";
import { createRouteTarget } from "./snapshot.ts";

const target = createRouteTarget("openai", "gpt-4o", () => undefined);

function setup({ failures = 3, openMs = 1_000, targetsMax = 10_000 } = {}) {
  const time = { now: 0 };
  const changes: CircuitState[] = [];
  const health = createHealth({
    settings: () => ({ failures, openMs }),
    monotonic: () => time.now,
    onChange: (_, state) => void changes.push(state),
    targetsMax,
  });
  const call = (act: (report: CallReport) => void) => act(health.begin(target));
  const fail = (count = 1, kind: FailureKind = "failure") => {
    for (let n = 0; n < count; n += 1) call((report) => report.failed(kind));
  };
  return { health, time, changes, call, fail, standing: () => health.standing(target) };
}

test("failures in a row open the circuit; a success between them does not let them add up", () => {
  const { call, fail, standing } = setup();
  fail(2);
  call((report) => report.succeeded());
  fail(2);
  expect(standing()).toEqual({ state: "ready", waitMs: 0 });
  fail(1);
  expect(standing()).toEqual({ state: "broken", waitMs: 1_000 });
});

test("an answer that begins and then breaks off counts, however often it begins", () => {
  const { call, standing } = setup();
  for (let n = 0; n < 3; n += 1) {
    call((report) => {
      report.began();
      report.failed("failure");
    });
  }
  expect(standing().state).toBe("broken");
});

test("what the caller did wrong and what the caller gave up count for nothing", () => {
  const { call, fail, standing } = setup();
  fail(2);
  for (let n = 0; n < 10; n += 1) {
    call((report) => report.refused());
    call((report) => report.abandoned());
  }
  expect(standing().state).toBe("ready");
  fail(1);
  expect(standing().state).toBe("broken");
});

test("an open circuit lets one probe through when its time is over; others wait for its outcome", () => {
  const { health, time, fail, standing, changes } = setup();
  fail(3);
  time.now = 999;
  expect(standing()).toEqual({ state: "broken", waitMs: 1 });
  time.now = 1_000;
  expect(standing().state).toBe("ready");
  const probe = health.begin(target);
  expect(standing().state).toBe("broken");
  expect(health.list()[0]?.state).toBe("half-open");
  probe.began();
  expect(standing().state).toBe("ready");
  probe.succeeded();
  expect(health.list()[0]).toMatchObject({ state: "closed", consecutiveFailures: 0 });
  expect(changes).toEqual(["open", "half-open", "closed"]);
});

test("a probe that fails opens the circuit for twice as long, up to ten times", () => {
  const { time, fail, standing } = setup();
  fail(3);
  for (const waitMs of [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]) {
    expect(standing()).toEqual({ state: "broken", waitMs });
    time.now += waitMs;
    fail(1);
  }
});

test("a success forgets how often the circuit opened before", () => {
  const { call, time, fail, standing } = setup();
  fail(3);
  time.now += 1_000;
  fail(1);
  time.now += 2_000;
  call((report) => report.succeeded());
  fail(3);
  expect(standing()).toEqual({ state: "broken", waitMs: 1_000 });
});

test("a probe whose answer breaks off opens the circuit again at once", () => {
  const { health, time, fail, standing } = setup();
  fail(3);
  time.now = 1_000;
  const probe = health.begin(target);
  probe.began();
  probe.failed("failure");
  expect(standing()).toEqual({ state: "broken", waitMs: 2_000 });
});

test("a probe that its caller gave up makes room for another", () => {
  const { health, time, fail, standing } = setup();
  fail(3);
  time.now = 1_000;
  health.begin(target).abandoned();
  expect(standing().state).toBe("ready");
  health.begin(target).refused();
  expect(health.list()[0]?.state).toBe("closed");
});

test("late failures of calls from before do not keep an open circuit open; a late success closes it", () => {
  const { health, time, fail, standing } = setup();
  const early = [health.begin(target), health.begin(target)] as const;
  fail(3);
  time.now = 500;
  early[0].failed("failure");
  expect(standing()).toEqual({ state: "broken", waitMs: 500 });
  early[1].succeeded();
  expect(standing().state).toBe("ready");
});

test("a rate limit pauses the target for as long as it asked, at most a minute, and opens nothing", () => {
  const { health, time, standing, changes } = setup();
  health.begin(target).failed("rate-limit", 300);
  expect(standing()).toEqual({ state: "cooling", waitMs: 300 });
  health.begin(target).failed("rate-limit", 100);
  expect(standing()).toEqual({ state: "cooling", waitMs: 300 });
  time.now = 300;
  expect(standing().state).toBe("ready");
  health.begin(target).failed("rate-limit");
  expect(standing()).toEqual({ state: "cooling", waitMs: 1_000 });
  health.begin(target).failed("rate-limit", 86_400_000);
  expect(standing()).toEqual({ state: "cooling", waitMs: 60_000 });
  expect(changes).toEqual([]);
});

test("a refused credential parks the target at once and for longer", () => {
  const { fail, standing } = setup();
  fail(1, "credential");
  expect(standing()).toEqual({ state: "broken", waitMs: 60_000 });
});

test("targets are forgotten before they are too many, healthy ones first", () => {
  const { health, fail } = setup({ targetsMax: 10 });
  fail(3);
  for (let n = 0; n < 1_000; n += 1) health.begin(createRouteTarget("openai", `m${n}`, () => undefined)).succeeded();
  expect(health.list()).toHaveLength(10);
  expect(health.standing(target).state).toBe("broken");
});

test("law: an open circuit never has more than one probe under way, and a report counts once", () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("begin" as const) }),
    fc.record({
      do: fc.constantFrom("began", "succeeded", "failed", "limited", "refused", "abandoned"),
      which: fc.nat(20),
    }),
    fc.record({ do: fc.constant("pass" as const), ms: fc.integer({ min: 1, max: 3_000 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const { health, time, standing } = setup({ failures: 2 });
      const calls: CallReport[] = [];
      let probe: CallReport | undefined;
      for (const action of steps) {
        if ("ms" in action) time.now += action.ms;
        else if (!("which" in action)) {
          // As the policy does: begin only where the circuit says so.
          if (standing().state !== "ready") continue;
          const before = health.list()[0]?.state ?? "closed";
          const report = health.begin(target);
          calls.push(report);
          if (before !== "closed") {
            expect(probe).toBeUndefined();
            probe = report;
            expect(standing().state).toBe("broken");
          }
        } else {
          const report = calls[action.which % Math.max(1, calls.length)];
          if (report === undefined) continue;
          if (action.do === "limited") report.failed("rate-limit", 10);
          else if (action.do === "failed") report.failed("failure");
          else report[action.do]();
          if (report === probe || health.list()[0]?.state === "closed") probe = undefined;
        }
        expect(health.list()[0]?.consecutiveFailures ?? 0).toBeLessThanOrEqual(calls.length + 1);
      }
    }),
    { numRuns: 500 },
  );
});
