import fc from "fast-check";
import { expect, test } from "vitest";
import { type Candidate, choose, routeOrder, type Standing } from "./policy.ts";
import { createRouteTarget } from "./snapshot.ts";

const candidate = (position: number, state: Standing["state"], waitMs = 0, tries = 0): Candidate => ({
  target: createRouteTarget("p", `m${position}`, () => undefined),
  position,
  tries,
  standing: { state, waitMs },
});
const chosen = (...candidates: Candidate[]) => {
  const choice = choose(candidates, routeOrder);
  return choice.kind === "call" ? choice.candidate.position : choice.waitMs;
};

test("the first ready target of the route, and one not yet tried before one that was", () => {
  expect(chosen(candidate(0, "ready"), candidate(1, "ready"))).toBe(0);
  expect(chosen(candidate(0, "ready", 0, 1), candidate(1, "ready"))).toBe(1);
  expect(chosen(candidate(0, "ready", 0, 2), candidate(1, "ready", 0, 1), candidate(2, "ready", 0, 1))).toBe(1);
  expect(chosen(candidate(0, "broken", 9), candidate(1, "ready", 0, 3))).toBe(1);
});

test("when none is ready, the one nearest to its probe; one that asked for a pause is left alone", () => {
  expect(chosen(candidate(0, "broken", 9), candidate(1, "broken", 5))).toBe(1);
  expect(chosen(candidate(0, "cooling", 1), candidate(1, "broken", 5_000))).toBe(1);
});

test("when all are cooling, the shortest wait", () => {
  expect(chosen(candidate(0, "cooling", 900), candidate(1, "cooling", 300))).toBe(300);
});

test("a ranking is data: another one chooses otherwise", () => {
  const cost = [5, 1, 3];
  const choice = choose(
    [0, 1, 2].map((n) => candidate(n, "ready")),
    [(one) => cost[one.position] ?? 0],
  );
  expect(choice).toMatchObject({ kind: "call", candidate: { position: 1 } });
});

test("law: there is always a choice, never a cooling target, and never a broken one beside a ready one", () => {
  const any = fc.record({
    state: fc.constantFrom<Standing["state"]>("ready", "broken", "cooling"),
    waitMs: fc.nat(1_000),
    tries: fc.nat(3),
  });
  fc.assert(
    fc.property(fc.array(any, { minLength: 1, maxLength: 8 }), (list) => {
      const candidates = list.map(({ state, waitMs, tries }, position) => candidate(position, state, waitMs, tries));
      const choice = choose(candidates, routeOrder);
      const has = (state: Standing["state"]) => list.some((one) => one.state === state);
      if (choice.kind === "wait") expect(has("ready") || has("broken")).toBe(false);
      else expect(choice.candidate.standing.state).toBe(has("ready") ? "ready" : "broken");
    }),
  );
});
