import { createFaultyListener } from "@weir/simulator/faulty-listener";
import type { LedgerRow, TestPrice } from "../ledger.ts";

/** Words that must never be found in what a process prints or measures. */
export const canaries = {
  prompt: "canary-prompt-7f3a91",
  reply: "canary-reply-52c8d0",
  providerKey: "canary-provider-key-e4b117",
  providerText: "canary-provider-text-90aa3c",
} as const;

/** Prices of the test providers, in nano-USD for a million tokens; chosen so that sums must be rounded. */
export const prices: Readonly<Record<string, TestPrice>> = {
  sim: { input: 2_500_000_001n, cachedInput: 1_250_000_003n, output: 10_000_000_007n },
  backup: { input: 123_456_789n, cachedInput: 123_456_789n, output: 987_654_321n },
};

/** Providers whose calls end at the simulator; the others are addresses that are broken. */
export const simulated: ReadonlySet<string> = new Set(["sim", "backup", "relentless"]);

export function priceOf(row: Pick<LedgerRow, "provider">): TestPrice {
  return prices[row.provider] ?? (prices["sim"] as TestPrice);
}

/** Decimal USD for a million tokens. */
function usd(nanoUsd: bigint): string {
  const digits = nanoUsd.toString().padStart(10, "0");
  return `${digits.slice(0, -9)}.${digits.slice(-9)}`;
}

/** The configuration of the end-to-end tests, as the object that weir.yaml holds. */
export async function createSetting() {
  const refusing = await createFaultyListener("refuse");
  const hanging = await createFaultyListener("hang");
  const resetting = await createFaultyListener("reset");
  const config = (simulatorUrl: string) => {
    const base_url = `${simulatorUrl}/v1`;
    const provider = (more: object = {}) => ({ kind: "openai", base_url, api_key: canaries.providerKey, ...more });
    const broken = (address: string) => ({ kind: "openai", base_url: `http://${address}/v1` });
    return {
      edge: {
        body_bytes_max: 1_048_576,
        cors_origins: ["https://app.example"],
        // Keys of the cases for limits have limits of their own; clients of the fault trials try again and again.
        requests_per_minute: 10_000_000,
        tokens_per_minute: 4_000_000_000,
      },
      discovery: { environment: false, local: false, demo: false },
      providers: {
        sim: provider(),
        backup: provider(),
        // Goes on, and bills, when Weir hangs up: Weir must read its answers to the end.
        relentless: provider({ stops_on_disconnect: false }),
        unpriced: provider(),
        refusing: broken(refusing.address),
        hanging: broken(hanging.address),
        resetting: broken(resetting.address),
        plain: { kind: "openai", base_url: base_url.replace("http:", "https:") },
      },
      prices: Object.entries({
        ...prices,
        relentless: prices["sim"],
        refusing: prices["sim"],
        hanging: prices["sim"],
        resetting: prices["sim"],
        plain: prices["sim"],
      }).map(([id, price]) => ({
        provider: id,
        model: "*",
        input_usd_per_million: usd((price as TestPrice).input),
        cached_input_usd_per_million: usd((price as TestPrice).cachedInput),
        output_usd_per_million: usd((price as TestPrice).output),
      })),
      router: {
        attempts_max: 3,
        retry_percent: 100,
        retries_per_second_min: 1000,
        // Cases share targets, so that one's failures must not close another's way.
        circuit_failures: 1000,
        timeouts: { connect: "2s", first_token: "10s", idle: "10s", total: "30s" },
      },
      aliases: {
        chat: { targets: [{ provider: "sim", model: "sim-chat" }], attempts_max: 1 },
        "single/*": { targets: [{ provider: "sim" }], attempts_max: 1 },
        "retried/*": { targets: [{ provider: "sim" }] },
        "fallback/*": { targets: [{ provider: "sim" }, { provider: "backup", model: "sim-second" }], attempts_max: 2 },
        relentless: { targets: [{ provider: "relentless", model: "sim-relentless" }], attempts_max: 1 },
        refused: { targets: [{ provider: "refusing", model: "m" }], attempts_max: 1 },
        "refused-first": {
          targets: [
            { provider: "refusing", model: "m" },
            { provider: "sim", model: "sim-second" },
          ],
        },
        hung: {
          targets: [{ provider: "hanging", model: "m" }],
          attempts_max: 1,
          timeouts: { first_token: "0.4s", total: "1s" },
        },
        reset: { targets: [{ provider: "resetting", model: "m" }], attempts_max: 1 },
        "bad-tls": { targets: [{ provider: "plain", model: "m" }], attempts_max: 1 },
        "slow-first-token": {
          targets: [{ provider: "sim", model: "sim-slow" }],
          attempts_max: 1,
          timeouts: { first_token: "0.4s" },
        },
        "slow-idle": { targets: [{ provider: "sim", model: "sim-slow" }], attempts_max: 1, timeouts: { idle: "0.4s" } },
        "slow-total": {
          targets: [{ provider: "sim", model: "sim-slow" }],
          attempts_max: 1,
          timeouts: { total: "0.6s" },
        },
        unpriced: { targets: [{ provider: "unpriced", model: "sim-unpriced" }] },
        "unpriced-allowed": { targets: [{ provider: "unpriced", model: "sim-unpriced" }], allow_unpriced: true },
        private: { targets: [{ provider: "sim", model: "sim-private" }] },
        "any/*": { targets: [{ provider: "sim" }] },
        "org/with/slashes": { targets: [{ provider: "sim", model: "sim-chat" }] },
      },
    };
  };
  const close = async () => {
    await Promise.all([refusing.close(), hanging.close(), resetting.close()]);
  };
  return { config, close };
}
