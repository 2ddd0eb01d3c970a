import { expect, test } from "vitest";
import { joinHeaders } from "./join-headers.ts";

test("a call's header takes the place of a configured one, and none stands twice", () => {
  const configured = ["accept", "*/*", "anthropic-version", "2023-01-01", "anthropic-beta", "a-1"];
  const ofCall = ["anthropic-version", "2023-06-01", "x-api-key", "k", "anthropic-beta", "b-2"];
  expect(joinHeaders(configured, ofCall).join(" ")).toBe(
    "accept */* anthropic-version 2023-06-01 anthropic-beta a-1,b-2 x-api-key k",
  );
  expect(joinHeaders(configured, [])).toEqual(configured);
});
