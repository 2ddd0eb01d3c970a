import type { LedgerRow, TestPrice } from "../ledger.ts";

export const price = { input: 2_500_000_001n, cachedInput: 1_250_000_003n, output: 10_000_000_007n } as const;

export const priceOf = (_row: LedgerRow): TestPrice => price;

/**
 * The configuration of the fault trials. A trial calls `chat/<tag>` and `relentless/<tag>`, so that the simulator's records
 * say whose they are; the provider of the second bills the whole answer, whoever is still there to read it.
 */
export function faultConfig(simulatorUrl: string, edge: object = {}): object {
  const provider = (more: object = {}) => ({
    kind: "openai",
    base_url: `${simulatorUrl}/v1`,
    api_key: "none",
    ...more,
  });
  return {
    // Longer than any request of a storm; a process that is asked to end waits no longer for streams that never end by themselves.
    edge: { requests_per_minute: 10_000_000, tokens_per_minute: 4_000_000_000, drain: "4s", ...edge },
    discovery: { environment: false, local: false, demo: false },
    // Segments of four MiB, so that long runs meet rotations.
    journal: { bytes_max: 16_777_216 },
    providers: { sim: provider(), relentless: provider({ stops_on_disconnect: false }) },
    prices: ["sim", "relentless"].map((id) => ({
      provider: id,
      model: "*",
      input_usd_per_million: "2.500000001",
      cached_input_usd_per_million: "1.250000003",
      output_usd_per_million: "10.000000007",
    })),
    router: {
      circuit_failures: 100_000,
      timeouts: { connect: "2s", first_token: "20s", idle: "20s", total: "40s" },
    },
    aliases: {
      "chat/*": { targets: [{ provider: "sim" }], attempts_max: 1 },
      "relentless/*": { targets: [{ provider: "relentless" }], attempts_max: 1 },
    },
  };
}
