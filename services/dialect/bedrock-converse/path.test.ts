import fc from "fast-check";
import { expect, test } from "vitest";
import { conversePath, readConversePath } from "./path.ts";

test.each([
  [
    { model: "anthropic.claude-3-haiku-20240307-v1:0", stream: false },
    "/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse",
  ],
  [
    { model: "arn:aws:bedrock:us-east-1:111122223333:inference-profile/us.amazon.nova-pro-v1:0", stream: true },
    "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A111122223333%3Ainference-profile%2Fus.amazon.nova-pro-v1%3A0/converse-stream",
  ],
])("the path of %j", (what, path) => {
  expect(conversePath(what)).toBe(path);
  expect(readConversePath(path)).toEqual(what);
});

test("any id comes back out of its path, which has no characters but those a path may have", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme", minLength: 1 }), fc.boolean(), (model, stream) => {
      const path = conversePath({ model, stream });
      expect(path).toMatch(/^\/model\/[\w.~%-]+\/converse(-stream)?$/);
      expect(readConversePath(path)).toEqual({ model, stream });
    }),
  );
});

test.each([
  "/model/m/invoke",
  "/model//converse",
  "/model/a/b/converse",
  "/model/%E0%A4%A/converse",
  "/v1/model/m/converse",
  "/model/m/converse?x=1",
])("%s is no path of Converse", (path) => expect(readConversePath(path)).toBeUndefined());
