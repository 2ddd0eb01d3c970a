import type { RunAttemptResponse } from "@weir/gen/weir/routing/v1/attempt_service_pb";
import { CallCancelled } from "@weir/kit/weir-error";
import type { AttemptPlan } from "../attempt-plan.ts";
import { closing } from "../attempt.ts";
import type { ProviderSettings } from "../provider-set.ts";
import { BatchCall } from "./batch-call.ts";
import { BatchMember, type Settle } from "./batch-member.ts";
import type { BatchDeps } from "./batch-single.ts";
import type { Joining } from "./joining.ts";

/** How small calls for embeddings are joined. */
export interface BatchSettings {
  /** How long a call may wait for others, in milliseconds; 0: calls are not joined. */
  readonly waitMs: number;
  /** Most inputs of a joined call. */
  readonly inputsMax: number;
  /** Most bytes of their inputs, as JSON. */
  readonly bytesMax: number;
}

/** Brings calls together that may be one. */
export interface Batches {
  /**
   * Takes a seat for an attempt that is about to be made.
   * @param begin to be called when the intent is on record; gives what puts the end on record
   * @returns undefined for a call that cannot be joined
   */
  enter(plan: AttemptPlan, begin: () => Settle): Seat | undefined;
  /** Those who wait for others learn that the pool closes. */
  close(): void;
}

/** An attempt's seat among those that it may share a call with. */
export interface Seat {
  /**
   * The answer; undefined: the attempt is to be made alone, and nothing is on record of it.
   * @throws what the caller shall know; then the attempt is over
   */
  readonly turn: Promise<RunAttemptResponse | undefined> | undefined;
  /** To be called when the attempt's call ends, whoever ended it. */
  leave(): void;
}

/** Calls that differ in their inputs alone. */
interface Group {
  /** Attempts that have a seat. */
  seats: number;
  forming: Forming | undefined;
}

/** Calls that wait for others. */
interface Forming {
  readonly members: Set<BatchMember>;
  inputs: number;
  bytes: number;
  cancelTimer: () => void;
}

interface ProviderState {
  readonly groups: Map<string, Group>;
  restsUntilMs: number;
}

/** How long nothing is joined after a refusal, which costs every member a second call. */
const restMs = 1_000;

export function createBatches(deps: BatchDeps): Batches {
  const { clock } = deps;
  // A new configuration makes new providers; calls to the old ones join no others.
  const states = new WeakMap<ProviderSettings, ProviderState>();
  const waiting = new Set<Forming>();

  function stateOf(provider: ProviderSettings): ProviderState {
    let state = states.get(provider);
    if (state === undefined) states.set(provider, (state = { groups: new Map(), restsUntilMs: 0 }));
    return state;
  }

  function form(state: ProviderState, group: Group, waitMs: number): Forming {
    const forming: Forming = {
      members: new Set(),
      inputs: 0,
      bytes: 0,
      cancelTimer: clock.after(waitMs, () => dispatch(state, group)),
    };
    group.forming = forming;
    waiting.add(forming);
    return forming;
  }

  /** Sends those off who wait. */
  function dispatch(state: ProviderState, group: Group): void {
    const { forming } = group;
    if (forming === undefined) return;
    group.forming = undefined;
    waiting.delete(forming);
    forming.cancelTimer();
    const [first, second] = forming.members;
    if (second === undefined) {
      first?.give(undefined);
      return;
    }
    const call = new BatchCall([...forming.members], deps, () => {
      state.restsUntilMs = clock.monotonic() + restMs;
    });
    void call.run();
  }

  /** Waits with others. */
  function wait(state: ProviderState, group: Group, member: BatchMember, settings: BatchSettings): void {
    const { inputs, bytes, target } = member.joining;
    const inputsMax = Math.min(settings.inputsMax, target.inputsMax);
    const full = group.forming;
    if (full !== undefined && (full.inputs + inputs.length > inputsMax || full.bytes + bytes > settings.bytesMax)) {
      dispatch(state, group);
    }
    const forming = group.forming ?? form(state, group, settings.waitMs);
    forming.members.add(member);
    forming.inputs += inputs.length;
    forming.bytes += bytes;
    member.onGone = () => {
      forming.members.delete(member);
      forming.inputs -= inputs.length;
      forming.bytes -= bytes;
    };
    if (forming.inputs >= inputsMax || forming.bytes >= settings.bytesMax) dispatch(state, group);
  }

  return {
    enter(plan, begin) {
      const { provider, call } = plan;
      const settings = provider.embeddingBatch;
      const joining = settings.waitMs > 0 ? call.embeddings?.joining() : undefined;
      if (joining === undefined || !isSmall(joining, settings)) return undefined;
      const state = stateOf(provider);
      const { connectMs, idleMs } = plan.timeouts;
      const key = `${connectMs} ${idleMs} ${joining.key}`;
      const group = state.groups.get(key) ?? { seats: 0, forming: undefined };
      state.groups.set(key, group);
      group.seats += 1;
      let seated = true;
      const stand = () => {
        if (!seated) return;
        seated = false;
        group.seats -= 1;
        if (group.seats === 0) state.groups.delete(key);
      };
      // Whom nobody is ahead of has nobody to wait for.
      if (group.seats === 1 || state.restsUntilMs > clock.monotonic()) return { turn: undefined, leave: stand };
      const member = new BatchMember(plan, joining, begin);
      wait(state, group, member, settings);
      return {
        turn: member.turn,
        leave() {
          stand();
          member.leave(new CallCancelled());
        },
      };
    },
    close() {
      for (const { members, cancelTimer } of waiting) {
        cancelTimer();
        for (const member of members) member.fail(closing());
      }
      waiting.clear();
    },
  };
}

/** Whether there is room for another call beside it. */
function isSmall({ inputs, bytes, target }: Joining, { inputsMax, bytesMax }: BatchSettings): boolean {
  return inputs.length < Math.min(inputsMax, target.inputsMax) && bytes < bytesMax;
}
