import type { Standing } from "./policy.ts";
import type { CircuitSettings, RouteTarget } from "./snapshot.ts";

/** What a failure says about its target. */
export type FailureKind =
  /** It failed, or did not answer in time. */
  | "failure"
  /** It asked for a pause. */
  | "rate-limit"
  /** It refused the gateway's credential: only people can mend that. */
  | "credential";

export type CircuitState = "closed" | "open" | "half-open";

/** One call under way. Exactly one of the last four is called, once; later calls of any do nothing. */
export interface CallReport {
  /** The target gave content. What follows may still fail. */
  began(): void;
  /** The answer came whole. */
  succeeded(): void;
  /** The target failed. @param retryAfterMs the pause that it asked for */
  failed(kind: FailureKind, retryAfterMs?: number): void;
  /** The target answered, and refused the request for the caller's fault. */
  refused(): void;
  /** Nothing was learnt: the caller left, or the call did not get so far. */
  abandoned(): void;
}

/** A target's health, for people. */
export interface TargetHealthView {
  readonly target: RouteTarget;
  readonly state: CircuitState;
  readonly consecutiveFailures: number;
  /** Milliseconds until a probe may go; undefined while the circuit is closed. */
  readonly waitMs: number | undefined;
}

export interface HealthOptions {
  readonly settings: () => CircuitSettings;
  /** Milliseconds that never go back. */
  readonly monotonic: () => number;
  readonly onChange: (target: RouteTarget, state: CircuitState) => void;
  /** Targets remembered; beyond it the oldest healthy one is forgotten. Default 10000. */
  readonly targetsMax?: number;
}

/** The circuits of all targets that were called lately. */
export interface Health {
  standing(target: RouteTarget): Standing;
  /** Begins a call. When the circuit is half-open, this call is its probe. */
  begin(target: RouteTarget): CallReport;
  list(): TargetHealthView[];
}

/** An open circuit doubles its time up to this factor. */
const openFactorMax = 10;
/** A refused credential keeps a target away from the start, for longer than any outage. */
const credentialParkMs = 60_000;
/** A pause when the provider asks for one without saying how long. */
const pauseDefaultMs = 1_000;
/** No provider can put itself away for longer than this by one answer. */
const pauseMaxMs = 60_000;
/** How many of the oldest targets are looked at for one to forget. */
const evictionScan = 16;

interface Circuit {
  readonly target: RouteTarget;
  consecutiveFailures: number;
  /** How often it opened since its last success. */
  openings: number;
  open: boolean;
  /** While open: when a probe may go. */
  probeTime: number;
  /** The probe under way. */
  probe: object | undefined;
  /** Until when the provider asked to be left alone. */
  coolUntil: number;
}

const ready: Standing = Object.freeze({ state: "ready", waitMs: 0 });

/** Keeps a circuit for each target. A circuit opens after failures in a row, stays open longer each time, and closes by a probe. */
export function createHealth(options: HealthOptions): Health {
  const { settings, monotonic, onChange, targetsMax = 10_000 } = options;
  const circuits = new Map<string, Circuit>();

  const find = (target: RouteTarget): Circuit => {
    let circuit = circuits.get(target.key);
    if (circuit === undefined) {
      if (circuits.size >= targetsMax) circuits.delete(oldest(circuits, monotonic()));
      circuit = {
        target,
        consecutiveFailures: 0,
        openings: 0,
        open: false,
        probeTime: 0,
        probe: undefined,
        coolUntil: 0,
      };
      circuits.set(target.key, circuit);
    }
    return circuit;
  };

  const open = (circuit: Circuit, baseMs: number) => {
    circuit.openings += 1;
    circuit.open = true;
    circuit.probe = undefined;
    circuit.probeTime = monotonic() + baseMs * Math.min(2 ** (circuit.openings - 1), openFactorMax);
    onChange(circuit.target, "open");
  };

  const rules: Rules = {
    close(circuit) {
      if (!circuit.open) return;
      circuit.open = false;
      circuit.probe = undefined;
      onChange(circuit.target, "closed");
    },
    // The target answers again; but one more failure, also of this very answer, opens its circuit anew.
    closeOnTrial(circuit) {
      circuit.consecutiveFailures = settings().failures - 1;
      rules.close(circuit);
    },
    fail(circuit, kind, wasProbe, retryAfterMs) {
      if (kind === "rate-limit") {
        const pauseMs = Math.min(retryAfterMs ?? pauseDefaultMs, pauseMaxMs);
        circuit.coolUntil = Math.max(circuit.coolUntil, monotonic() + pauseMs);
        return;
      }
      circuit.consecutiveFailures += 1;
      // A late echo of what opened it, or a call for want of any other target.
      if (circuit.open && !wasProbe) return;
      const { failures, openMs } = settings();
      if (kind === "credential") open(circuit, Math.max(credentialParkMs, openMs));
      else if (wasProbe || circuit.consecutiveFailures >= failures) open(circuit, openMs);
    },
  };

  return {
    standing(target) {
      const circuit = circuits.get(target.key);
      if (circuit === undefined) return ready;
      const now = monotonic();
      if (circuit.coolUntil > now) return { state: "cooling", waitMs: circuit.coolUntil - now };
      if (!circuit.open) return ready;
      if (circuit.probe !== undefined) return { state: "broken", waitMs: 0 };
      return circuit.probeTime <= now ? ready : { state: "broken", waitMs: circuit.probeTime - now };
    },

    begin(target) {
      const circuit = find(target);
      const report = new Report(circuit, rules);
      if (circuit.open && circuit.probe === undefined && circuit.probeTime <= monotonic()) {
        circuit.probe = report;
        onChange(target, "half-open");
      }
      return report;
    },

    list() {
      const now = monotonic();
      return Array.from(circuits.values(), (circuit) => {
        const halfOpen = circuit.probe !== undefined || circuit.probeTime <= now;
        return {
          target: circuit.target,
          state: circuit.open ? (halfOpen ? "half-open" : "open") : "closed",
          consecutiveFailures: circuit.consecutiveFailures,
          waitMs: circuit.open ? Math.max(0, circuit.probeTime - now) : undefined,
        };
      });
    },
  };
}

/** How circuits change; one for all reports. */
interface Rules {
  fail(circuit: Circuit, kind: FailureKind, wasProbe: boolean, retryAfterMs: number | undefined): void;
  close(circuit: Circuit): void;
  closeOnTrial(circuit: Circuit): void;
}

class Report implements CallReport {
  private readonly circuit: Circuit;
  private readonly rules: Rules;
  private over = false;

  constructor(circuit: Circuit, rules: Rules) {
    this.circuit = circuit;
    this.rules = rules;
  }

  began(): void {
    if (!this.over && this.isProbe()) this.rules.closeOnTrial(this.circuit);
  }

  succeeded(): void {
    if (this.finish()) return;
    const { circuit } = this;
    this.rules.close(circuit);
    circuit.consecutiveFailures = 0;
    circuit.openings = 0;
  }

  failed(kind: FailureKind, retryAfterMs?: number): void {
    const wasProbe = this.isProbe();
    if (this.finish()) return;
    this.rules.fail(this.circuit, kind, wasProbe, retryAfterMs);
  }

  refused(): void {
    const wasProbe = this.isProbe();
    if (this.finish()) return;
    if (wasProbe) this.rules.closeOnTrial(this.circuit);
  }

  abandoned(): void {
    this.finish();
  }

  private isProbe(): boolean {
    return this.circuit.probe === this;
  }

  /** Gives the probe's place back. Returns whether the call was over before. */
  private finish(): boolean {
    const was = this.over;
    this.over = true;
    if (this.isProbe()) this.circuit.probe = undefined;
    return was;
  }
}

/** The key of the target to forget: the oldest that is not held back, else the very oldest. */
function oldest(circuits: ReadonlyMap<string, Circuit>, now: number): string {
  let first: string | undefined;
  let seen = 0;
  for (const [key, circuit] of circuits) {
    first ??= key;
    if (!circuit.open && circuit.coolUntil <= now) return key;
    seen += 1;
    if (seen === evictionScan) break;
  }
  return first ?? "";
}
