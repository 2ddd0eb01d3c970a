import { fromBinary } from "@bufbuild/protobuf";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import { readTags } from "./tags.ts";

const tagsOf = (text: string) => {
  const bytes = readTags({ "x-weir-tags": text });
  return bytes && fromBinary(PrincipalSchema, bytes).tags;
};

test("tags are read with or without space around them", () => {
  expect(tagsOf("team=search,job=nightly")).toEqual({ team: "search", job: "nightly" });
  expect(tagsOf(" team=search , cost-center=EU:42/a+b@c.d_e ,")).toEqual({
    team: "search",
    "cost-center": "EU:42/a+b@c.d_e",
  });
});

test.each([undefined, "", " , ,"])("%j is no tag", (text) => {
  expect(readTags(text === undefined ? {} : { "x-weir-tags": text })).toBeUndefined();
});

test.each([
  "team",
  "=search",
  "team=",
  "team=a b",
  "team=a;b",
  'team="a"',
  "te am=a",
  "__proto__=a",
  "team=ä",
  "team=a=b",
  "team=a,team=b",
  `${"n".repeat(65)}=a`,
  `a=${"v".repeat(129)}`,
  Array.from({ length: 17 }, (_, index) => `t${index}=1`).join(","),
  `a=b,${" ".repeat(2_048)}`,
])("%s is refused, and the error does not repeat it", (text) => {
  expect(() => tagsOf(text)).toThrow(
    expect.objectContaining({ reason: ErrorReason.INVALID_REQUEST, metadata: { param: "x-weir-tags" } }),
  );
  expect(() => tagsOf(text)).not.toThrow(text);
});

test("whatever is within the rules comes back as it was", () => {
  const name = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/);
  const value = fc.stringMatching(/^[A-Za-z0-9_.:@/+-]{1,64}$/);
  const pairs = fc.uniqueArray(fc.tuple(name, value), { selector: ([key]) => key, minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(pairs, (tags) => {
      const text = tags.map(([key, content]) => `${key}=${content}`).join(",");
      expect(tagsOf(text)).toEqual(Object.fromEntries(tags));
    }),
    { numRuns: Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000) },
  );
});
