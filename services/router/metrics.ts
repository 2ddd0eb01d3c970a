import type { Meter } from "@opentelemetry/api";
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
  const attempts = meter.createCounter("router_attempts", { description: "Attempts by provider and outcome" });
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
      attempts.add(1, { provider, outcome: word });
    },
    fallback: (provider) => fallbacks.add(1, { provider }),
    retryDenied: () => denied.add(1),
    circuit: (provider, state) => circuits.add(1, { provider, state }),
  };
}
