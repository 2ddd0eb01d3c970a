import { Role } from "@weir/gen/weir/common/v1/access_pb";
import { expect, test } from "vitest";
import { allPages, chosenLimits, chosenState, limitsText, named, readRole, roleName } from "./account-options.ts";

test("ids are taken with their collection or without it", () => {
  expect(named("teams/", "research.search")).toBe("teams/research.search");
  expect(named("teams/", "teams/research.search")).toBe("teams/research.search");
  expect(named("teams/", undefined)).toBe("");
});

test("limits that were not chosen stay out of a change, and each is told with its unit", () => {
  expect(chosenLimits({})).toBeUndefined();
  const limits = chosenLimits({ requestsPerMinute: 60, tokensPerDay: 5_000_000, concurrentRequests: 5 });
  expect(limits).toEqual({ requestsPerMinute: 60, tokensPerDay: 5_000_000n, concurrentRequests: 5 });
  expect(limitsText(limits)).toBe("60 requests/min, 5000000 tokens/day, 5 at once");
  expect(limitsText(undefined)).toBe("-");
});

test("what is neither disabled nor enabled, or both, stays as it is", () => {
  expect(chosenState({})).toBeUndefined();
  expect(chosenState({ disable: true })).toBe(true);
  expect(chosenState({ enable: true })).toBe(false);
  expect(chosenState({ disable: true, enable: true })).toBeUndefined();
});

test("roles are read by their words, and no other", () => {
  for (const word of ["member", "analyst", "auditor", "admin", "owner"]) expect(roleName(readRole(word))).toBe(word);
  expect(roleName(Role.UNSPECIFIED)).toBe("member");
  expect(() => readRole("root")).toThrow("expected one of member");
});

test("a list is read page by page to its end", async () => {
  const pages: Record<string, { rows: number[]; nextPageToken: string }> = {
    "": { rows: [1, 2], nextPageToken: "a" },
    a: { rows: [3], nextPageToken: "" },
  };
  expect(await allPages(async (token) => pages[token] ?? { rows: [], nextPageToken: "" })).toEqual([1, 2, 3]);
});
