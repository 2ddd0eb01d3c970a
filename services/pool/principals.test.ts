import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { encodeToBytes } from "@weir/kit/codec";
import { expect, test } from "vitest";
import { createPrincipalReader } from "./principals.ts";
import { createRecentIds } from "./recent-ids.ts";

const entry = (tenant: string) => Buffer.from(encodeToBytes(PrincipalSchema, { tenant, key: "k" })).toString("base64");

test("a principal is decoded once while it is remembered, and few are", () => {
  const read = createPrincipalReader(2);
  const first = read(entry("a"));
  expect(first).toMatchObject({ tenant: "a", key: "k", user: "" });
  expect(read(entry("a"))).toBe(first);
  read(entry("b"));
  read(entry("c"));
  expect(read(entry("a"))).not.toBe(first);
});

test.each([undefined, "", "!!!", "AAAA", entry("")])("%s names nobody", (text) => {
  const read = createPrincipalReader();
  expect(() => read(text)).toThrow("weir-principal-bin");
  expect(() => read(text)).toThrow("weir-principal-bin");
});

test("the newest ids are remembered, the oldest forgotten", () => {
  const ids = createRecentIds(3);
  expect([1, 2, 3, 4, 5, 6].map((id) => ids.add(String(id)))).toEqual([true, true, true, true, true, true]);
  expect([4, 5, 6].map((id) => ids.add(String(id)))).toEqual([false, false, false]);
  ids.add("7");
  expect(ids.add("1")).toBe(true);
});
