import type { Attributes, Meter } from "@opentelemetry/api";
import { reasonWord, type WeirError } from "@weir/kit/weir-error";
import type { CircuitState } from "./health.ts";

/** How an attempt ended, as a label. */
export type Outcome = "ok" | "refused" | "cancelled" | WeirError;

export interface RouterMetrics {
  attempt(provider: string, outcome: Outcome): void;
  /** A request goes on at another target. @param provider where it goes */
  fallback(provider: string): void;
  retryDenied(): void;
  circuit(provider: string, state: CircuitState): void;
}

/** The router's metrics. Labels are provider ids and fixed words; a model can be any text that a caller sends. */
export function createMetrics(meter: Meter): RouterMetrics {
  // Kept here and read when somebody scrapes: adding to an instrument costs 2 us for its attributes alone.
  const attempts = new Map<string, Map<string, { readonly attributes: Attributes; count: number }>>();
  meter
    .createObservableCounter("router_attempts", { description: "Attempts by provider and outcome" })
    .addCallback((result) => {
      for (const byOutcome of attempts.values()) {
        for (const { attributes, count } of byOutcome.values()) result.observe(count, attributes);
      }
    });
  const fallbacks = meter.createCounter("router_fallbacks", {
    description: "Attempts at another target after a failure, by the provider they go to",
  });
  const denied = meter.createCounter("router_retries_denied", {
    description: "Requests that failed because the retry budget was spent",
  });
  const circuits = meter.createCounter("router_circuit_changes", {
    description: "Changes of circuits by provider and new state",
  });
  return {
    attempt(provider, outcome) {
      const word = typeof outcome === "string" ? outcome : reasonWord(outcome.reason).toLowerCase();
      let byOutcome = attempts.get(provider);
      if (byOutcome === undefined) attempts.set(provider, (byOutcome = new Map()));
      const known = byOutcome.get(word);
      if (known === undefined) byOutcome.set(word, { attributes: { provider, outcome: word }, count: 1 });
      else known.count += 1;
    },
    fallback: (provider) => fallbacks.add(1, { provider }),
    retryDenied: () => denied.add(1),
    circuit: (provider, state) => circuits.add(1, { provider, state }),
  };
}
