import { create } from "@bufbuild/protobuf";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { ConfigSchema } from "@weir/gen/weir/config/v1/config_pb";
import { ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import { CallHeadSchema } from "@weir/gen/weir/passthrough/v1/forward_pb";
import { createPriceList } from "@weir/price/price";
import { expect, test } from "vitest";
import { routingFromConfig } from "../snapshot.ts";
import { planForward } from "./forward-plan.ts";

const provider = (kind: ProviderKind) => ({ kind, baseUrl: "http://127.0.0.1:1/v1" });
const aliases = {
  both: {
    targets: [
      { provider: "first", model: "m1" },
      { provider: "second", model: "m2" },
    ],
    allowUnpriced: true,
  },
  strict: { targets: [{ provider: "first", model: "m1" }] },
};

function plan(
  call: { endpoint: string; alias?: string; place?: { provider: string } },
  more: { passthrough?: Record<string, string>; providers?: Record<string, ReturnType<typeof provider>> } = {},
) {
  const providers = {
    other: provider(ProviderKind.ANTHROPIC),
    first: provider(ProviderKind.OPENAI),
    second: provider(ProviderKind.OPENAI),
  };
  const config = create(ConfigSchema, { providers, aliases, ...more });
  const head = create(CallHeadSchema, { method: "POST", path: "/x", ...call });
  return planForward(routingFromConfig(config, createPriceList([]), 0), head, 0).targets.map(({ key }) => key);
}

test("a call without a model goes to the first provider of kind openai, under its endpoint's name", () => {
  expect(plan({ endpoint: "files" })).toEqual(["first/files"]);
});

test("the provider openai goes before those that stand before it", () => {
  const providers = { first: provider(ProviderKind.OPENAI), openai: provider(ProviderKind.OPENAI) };
  expect(plan({ endpoint: "files" }, { providers })).toEqual(["openai/files"]);
});

test("the configuration decides for its endpoint alone", () => {
  const more = { passthrough: { files: "second" } };
  expect(plan({ endpoint: "files" }, more)).toEqual(["second/files"]);
  expect(plan({ endpoint: "batches" }, more)).toEqual(["first/batches"]);
});

test("what a call is about decides before the configuration", () => {
  const more = { passthrough: { files: "second" } };
  expect(plan({ endpoint: "files", place: { provider: "first" } }, more)).toEqual(["first/files"]);
});

test("an alias goes to its targets; of those, where its files are", () => {
  expect(plan({ endpoint: "images", alias: "both" })).toEqual(["first/m1", "second/m2"]);
  expect(plan({ endpoint: "fine_tuning", alias: "both", place: { provider: "second" } })).toEqual(["second/m2"]);
});

test("an alias that is not served where its files are is refused", () => {
  const one = { providers: { first: provider(ProviderKind.OPENAI), third: provider(ProviderKind.OPENAI) } };
  expect(() => plan({ endpoint: "fine_tuning", alias: "both", place: { provider: "third" } }, one)).toThrow(
    expect.objectContaining({ reason: ErrorReason.INVALID_REQUEST, metadata: { param: "model" } }),
  );
});

test("a model without a price is refused where it is billed, and not where nobody bills it", () => {
  expect(() => plan({ endpoint: "images", alias: "strict" })).toThrow(
    expect.objectContaining({ reason: ErrorReason.MODEL_UNPRICED }),
  );
  expect(plan({ endpoint: "moderations", alias: "strict" })).toEqual(["first/m1"]);
});

test("an endpoint that no provider serves is not found", () => {
  const providers = { other: provider(ProviderKind.ANTHROPIC) };
  expect(() => plan({ endpoint: "files" }, { providers })).toThrow(
    expect.objectContaining({ reason: ErrorReason.NOT_FOUND }),
  );
});
