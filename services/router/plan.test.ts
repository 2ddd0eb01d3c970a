import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { ConfigSchema } from "@weir/gen/weir/config/v1/config_pb";
import { ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { createPriceList, type Price } from "@weir/price/price";
import fc from "fast-check";
import { expect, test } from "vitest";
import { planRequest } from "./plan.ts";
import { routingFromConfig } from "./snapshot.ts";

const price = (provider: string, model: string, effectiveTime?: number): Price => ({
  id: `${provider}/${model}@${effectiveTime ?? "always"}`,
  provider,
  model,
  effectiveTime,
  nanoUsdPerMillion: { input: 1n, cachedInput: 1n, cacheWrite: 1n, output: 1n },
  source: "test",
});
const prices = createPriceList([
  price("openai", "gpt-4o"),
  price("openai", "o*"),
  price("openai", "later", 1_000),
  price("azure", "gpt-4o"),
  price("ollama", "*"),
  price("elsewhere", "gpt-4o"),
]);
const provider = { kind: ProviderKind.OPENAI };

type ConfigInit = Parameters<typeof create<typeof ConfigSchema>>[1];
const routing = (config: ConfigInit) => routingFromConfig(create(ConfigSchema, config), prices, 0);
const targets = (config: ConfigInit, model: string, nowMs = 0) =>
  planRequest(routing(config), model, nowMs).targets.map((target) => target.key);
const reasonOf = (act: () => unknown) => {
  try {
    act();
  } catch (thrown) {
    if (thrown instanceof WeirError) return thrown.reason;
    throw thrown;
  }
  return undefined;
};

test("without aliases: every provider by prefix, and known models by name, from all providers that have them", () => {
  const config = { providers: { azure: provider, openai: provider, ollama: { ...provider, models: ["llama3:8b"] } } };
  expect(targets(config, "gpt-4o")).toEqual(["azure/gpt-4o", "openai/gpt-4o"]);
  expect(targets(config, "llama3:8b")).toEqual(["ollama/llama3:8b"]);
  expect(targets(config, "openai/gpt-4o")).toEqual(["openai/gpt-4o"]);
  expect(targets(config, "openai/o9-mini")).toEqual(["openai/o9-mini"]);
  expect(targets(config, "ollama/org/any:latest")).toEqual(["ollama/org/any:latest"]);
  expect(reasonOf(() => targets(config, "elsewhere/gpt-4o"))).toBe(ErrorReason.MODEL_NOT_FOUND);
  expect(reasonOf(() => targets(config, "o*"))).toBe(ErrorReason.MODEL_NOT_FOUND);
  expect(reasonOf(() => targets(config, "openai/new-model"))).toBe(ErrorReason.MODEL_UNPRICED);
  expect(reasonOf(() => targets(config, "openai/"))).toBe(ErrorReason.MODEL_NOT_FOUND);
  expect(reasonOf(() => targets(config, `ollama/${"x".repeat(257)}`))).toBe(ErrorReason.MODEL_NOT_FOUND);
});

test("with aliases only they count: the exact one, else the longest prefix; an empty model is the caller's", () => {
  const config = {
    providers: { openai: provider, ollama: provider },
    aliases: {
      fast: {
        targets: [
          { provider: "ollama", model: "small" },
          { provider: "openai", model: "gpt-4o" },
        ],
      },
      "gpt-4o": { targets: [{ provider: "openai" }] },
      "l*": { targets: [{ provider: "ollama", model: "l" }] },
      "local/*": { targets: [{ provider: "ollama" }, { provider: "openai", model: "gpt-4o" }] },
    },
  };
  expect(targets(config, "fast")).toEqual(["ollama/small", "openai/gpt-4o"]);
  expect(targets(config, "models/fast")).toEqual(["ollama/small", "openai/gpt-4o"]);
  expect(targets(config, "gpt-4o")).toEqual(["openai/gpt-4o"]);
  expect(targets(config, "local/phi")).toEqual(["ollama/phi", "openai/gpt-4o"]);
  expect(targets(config, "local/")).toEqual(["openai/gpt-4o"]);
  expect(targets(config, "loud")).toEqual(["ollama/l"]);
  expect(reasonOf(() => targets(config, "openai/gpt-4o"))).toBe(ErrorReason.MODEL_NOT_FOUND);
  expect(reasonOf(() => targets(config, "constructor"))).toBe(ErrorReason.MODEL_NOT_FOUND);
  expect(planRequest(routing(config), "models/local/phi", 0).alias).toBe("local/phi");
});

test.each(["..", ".", "../x", "x/..", "a/../b", "a/./b", "a\\..\\b", "./x", "a/..\\b", "x\ud800"])(
  "a name that could be read as another path is no model: %j",
  (name) => {
    const config = {
      providers: { openai: provider },
      aliases: { "any/*": { targets: [{ provider: "openai" }], allowUnpriced: true } },
    };
    expect(reasonOf(() => targets(config, `any/${name}`))).toBe(ErrorReason.MODEL_NOT_FOUND);
    expect(reasonOf(() => targets({ providers: { openai: provider } }, `openai/${name}`))).toBe(
      ErrorReason.MODEL_NOT_FOUND,
    );
  },
);

test.each(["...", "a..b", "..a", "a.", ".hidden", "v1.2/x"])("dots in a name are no harm: %j", (name) => {
  const config = {
    providers: { openai: provider },
    aliases: { "any/*": { targets: [{ provider: "openai" }], allowUnpriced: true } },
  };
  expect(targets(config, `any/${name}`)).toEqual([`openai/${name}`]);
});

test("targets without a price are left out, unless the alias allows them; the price of now counts", () => {
  const mixed = [
    { provider: "openai", model: "new" },
    { provider: "openai", model: "later" },
  ];
  const config = { aliases: { strict: { targets: mixed }, lax: { targets: mixed, allowUnpriced: true } } };
  expect(targets(config, "strict", 1_000)).toEqual(["openai/later"]);
  expect(reasonOf(() => targets(config, "strict", 999))).toBe(ErrorReason.MODEL_UNPRICED);
  expect(targets(config, "lax", 0)).toEqual(["openai/new", "openai/later"]);
});

test("timeouts and attempts: the alias's, else the router's, else the defaults", () => {
  const targetList = [{ provider: "openai", model: "gpt-4o" }];
  const snapshot = routing({
    aliases: {
      own: { targets: targetList, attemptsMax: 1, timeouts: { idle: durationFromMs(7_000) } },
      plain: { targets: targetList },
    },
    router: {
      attemptsMax: 4,
      timeouts: { idle: durationFromMs(1_000), total: durationFromMs(9_000) },
      retryPercent: 0,
    },
  });
  expect(snapshot.exact.get("own")).toMatchObject({
    attemptsMax: 1,
    timeouts: { connectMs: 5_000, firstTokenMs: 120_000, idleMs: 7_000, totalMs: 9_000 },
  });
  expect(snapshot.exact.get("plain")).toMatchObject({ attemptsMax: 4, timeouts: { idleMs: 1_000 } });
  expect(snapshot.retry).toEqual({ percent: 0, perSecondMin: 10, retryAfterMaxMs: 2_000 });
  expect(snapshot.circuit).toEqual({ failures: 5, openMs: 10_000 });
});

test("law: a plan is total: for any name, targets in the route's order, or one of two reasons", () => {
  const names = fc.constantFrom("a", "b", "gpt-4o", "a/b", "x*", "a*", "*", "models/a");
  const alias = fc.record({
    targets: fc.array(
      fc.record({ provider: fc.constantFrom("openai", "ollama"), model: fc.constantFrom("", "gpt-4o", "new") }),
      { minLength: 1, maxLength: 4 },
    ),
    allowUnpriced: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.dictionary(names, alias, { minKeys: 1 }), fc.oneof(names, fc.string()), (aliases, model) => {
      const snapshot = routing({ aliases });
      const reason = reasonOf(() => {
        const plan = planRequest(snapshot, model, 0);
        expect(plan.targets.length).toBeGreaterThan(0);
        expect(plan.targets.every((target) => target.model !== "")).toBe(true);
        const order = plan.route.targets.map((target) => target.provider).join();
        if (plan.targets.length === plan.route.targets.length) {
          expect(plan.targets.map((target) => target.provider).join()).toBe(order);
        }
      });
      expect([undefined, ErrorReason.MODEL_NOT_FOUND, ErrorReason.MODEL_UNPRICED]).toContain(reason);
    }),
  );
});
