import type { Principal } from "@weir/gen/weir/common/v1/principal_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import type { Target } from "@weir/gen/weir/routing/v1/target_pb";
import type { Clock } from "@weir/kit/clock";
import type { Taking } from "@weir/kit/limits/limiter";
import type { WeirError } from "@weir/kit/weir-error";
import type { Dispatcher } from "undici";
import type { AttemptTimeouts } from "./attempt-timer.ts";
import type { CallHold } from "./budgets/call-hold.ts";
import type { ProviderSettings } from "./provider-set.ts";
import type { UpstreamCall } from "./upstream.ts";
import type { AskedTier, Metered } from "./usage-counts.ts";

/** One call to one target, ready to leave. */
export interface AttemptPlan {
  readonly attemptId: string;
  readonly requestId: string;
  readonly principal: Principal;
  readonly alias: string;
  readonly target: Target;
  readonly priceId: string;
  readonly provider: ProviderSettings;
  readonly call: UpstreamCall;
  /** Whether the caller reads the answer as it comes. */
  readonly stream: boolean;
  /** Whether another target may take what is too long for this one: the caller is not told then what the provider says of that. */
  readonly hasLargerTarget: boolean;
  /** What the input is estimated from. */
  readonly requestBody: Uint8Array;
  /** Undefined: the standard tier, one that the provider chooses, or one that the price does not know. */
  readonly askedTier: AskedTier | undefined;
  /** The most that it may use, in the dearer of the tier that it asks for and the standard one. */
  readonly reserved: Usage;
  /** What budgets set aside; undefined: no budget is about the attempt. */
  readonly hold: CallHold | undefined;
  /** What it has taken of its provider's limits; undefined: the provider has none. */
  readonly taking: Taking | undefined;
  readonly timeouts: AttemptTimeouts;
  /** When the attempt began, by the wall clock and by the monotonic one. */
  readonly startTimeMs: number;
  readonly startMs: number;
}

/** What an attempt needs of its surroundings. */
export interface AttemptSurroundings {
  readonly clock: Clock;
  readonly dispatcher: Dispatcher;
  /** The credential's headers, for undici; never logged. */
  readonly credentialHeaders: readonly string[];
  /** How a refusal of the credential, or a limit on its rate, looks to the router. */
  judgeCredential(failure: WeirError): WeirError;
  readonly progressIntervalMs: number;
  /** Records how far a long stream came. */
  progress(usage: Usage): void;
  /** Asks for one of the few places in which answers are read to their end though their caller has gone. */
  admitDrain(): boolean;
  /** Told once, before the caller hears of the end. Nothing of the attempt is under way then. */
  settled(end: AttemptEnd): void;
}

/** How an attempt ended. */
export interface AttemptEnd extends Metered {
  readonly outcome: AttemptOutcome;
  /** What the caller got to know instead of the answer's end. */
  readonly failure: Error | undefined;
  /** HTTP status of the provider; 0 when it gave none. */
  readonly status: number;
  readonly replyId: string;
  /** From sending until the first content. */
  readonly firstContentMs: number | undefined;
  /** From the beginning. */
  readonly durationMs: number;
  /** Whether it held one of the places of `admitDrain`. */
  readonly drained: boolean;
  /** Whether every count that the provider reported could be taken as it stood. */
  readonly sound: boolean;
}
