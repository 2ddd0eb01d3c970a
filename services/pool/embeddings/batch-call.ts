import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import type { WeirError } from "@weir/kit/weir-error";
import type { AttemptEnd, AttemptPlan } from "../attempt-plan.ts";
import { type Attempt, closing } from "../attempt.ts";
import { timedOut, unavailable } from "../classify.ts";
import type { UpstreamCall } from "../upstream.ts";
import { type Metered, totals } from "../usage-counts.ts";
import { type CheckedReading, wholeAnswers } from "./answers.ts";
import { sharedAnswer, sharedEnd, shareUsage, unsentEnd, type Verdict, verdictOn } from "./batch-end.ts";
import type { BatchMember } from "./batch-member.ts";
import { asError, type BatchDeps, type RecordedMember, runSingle } from "./batch-single.ts";

/**
 * One call for several attempts, each of which keeps its own intent and its own settlement. The call's own fate is theirs, but
 * that of a refusal: it may be the fault of one of them, so that each is made once more by itself.
 */
export class BatchCall {
  /** Those whose answers may still come of this call. */
  private members: readonly BatchMember[];
  private readonly deps: BatchDeps;
  /** Told when the provider refuses the call. */
  private readonly onRefused: () => void;
  private readonly waiting = new AbortController();
  private attempt: Attempt | undefined;
  private reading: CheckedReading | undefined;
  private cancelTimers: (() => void)[] = [];

  /** @param members at least two, of one key */
  constructor(members: readonly BatchMember[], deps: BatchDeps, onRefused: () => void) {
    this.members = members;
    this.deps = deps;
    this.onRefused = onRefused;
    for (const member of members) member.onGone = () => this.memberGone();
  }

  /** Resolves when the call is on its way, or will not be made. Never rejects. */
  async run(): Promise<void> {
    const [first] = this.members;
    if (first === undefined || !(await this.takePlace(first.plan))) return;
    const recorded = await this.record();
    this.members = recorded.map(({ member }) => member);
    const [only] = recorded;
    if (only === undefined) this.deps.leavePlace(first.plan);
    else if (recorded.length === 1) void runSingle(only, true, this.deps);
    else await this.send(recorded);
  }

  private memberGone(): void {
    if (!this.isDeserted()) return;
    this.waiting.abort();
    this.attempt?.cancel();
  }

  private isDeserted(): boolean {
    return this.members.every(({ gone }) => gone !== undefined);
  }

  private async takePlace(plan: AttemptPlan): Promise<boolean> {
    try {
      await this.deps.takePlace(plan, () => this.waiting.signal);
      return true;
    } catch (thrown) {
      for (const member of this.members) member.fail(thrown);
      return false;
    }
  }

  /** Puts the intents of those on record who still wait; those whose intent is refused learn why. */
  private async record(): Promise<RecordedMember[]> {
    const intended = await Promise.all(
      this.members.map(async (member): Promise<RecordedMember | undefined> => {
        if (member.gone !== undefined) return undefined;
        try {
          if (this.deps.isClosed()) throw closing();
          await this.deps.intend(member.plan);
          return { member, settle: member.begin() };
        } catch (thrown) {
          member.fail(thrown);
          return undefined;
        }
      }),
    );
    return intended
      .filter((recorded) => recorded !== undefined)
      .filter((recorded) => {
        const { gone } = recorded.member;
        if (gone !== undefined) this.endUnsent(recorded, gone);
        return gone === undefined;
      });
  }

  private async send(recorded: readonly RecordedMember[]): Promise<void> {
    const { clock, keys, begin, isClosed } = this.deps;
    const plan = this.planOf(recorded, clock.monotonic());
    try {
      const key = await keys.use(plan.provider, plan.call);
      this.attempt = begin(plan, key, (end) => this.ended(recorded, end));
    } catch (thrown) {
      this.deps.leavePlace(plan);
      for (const each of recorded) {
        this.endUnsent(each, asError(thrown));
        each.member.fail(thrown);
      }
      return;
    }
    if (isClosed()) this.attempt.giveUp();
    else if (this.isDeserted()) this.attempt.cancel();
    else {
      this.startTimers(recorded);
      this.attempt.send();
    }
  }

  /** The call as an attempt of its own, of which the journal does not know. */
  private planOf(recorded: readonly RecordedMember[], nowMs: number): AttemptPlan {
    const all = recorded.map(({ member }) => member);
    const [{ plan, joining }] = all as [BatchMember];
    const inputs = all.flatMap((member) => member.joining.inputs);
    const dimensions = all.flatMap((member) => member.joining.expectation.dimensions);
    const call: UpstreamCall = {
      path: joining.path,
      headers: [],
      body: joining.body(inputs),
      stream: false,
      answers: wholeAnswers(joining.target, dimensions, (reading) => this.keep(reading), false),
      headerRules: undefined,
      warnings: [],
    };
    return {
      ...plan,
      call,
      requestBody: call.body,
      reserved: totals(
        all.reduce((sum, { plan: { reserved } }) => sum + (reserved.inputTokens ?? 0), 0),
        0,
      ),
      timeouts: { ...plan.timeouts, totalMs: Math.max(...all.map((member) => leftMs(member.plan, nowMs))) },
      startMs: nowMs,
    };
  }

  /** The members' answers are cut from what was read. */
  private keep(reading: CheckedReading): Buffer {
    this.reading = reading;
    return nothing;
  }

  /** A member waits no longer than its own caller does. */
  private startTimers(recorded: readonly RecordedMember[]): void {
    const { clock } = this.deps;
    const nowMs = clock.monotonic();
    this.cancelTimers = recorded.map(({ member }) =>
      clock.after(leftMs(member.plan, nowMs), () => member.leave(timedOut(member.plan.provider.id, "total"))),
    );
  }

  private ended(recorded: readonly RecordedMember[], end: AttemptEnd): void {
    for (const cancel of this.cancelTimers) cancel();
    const nowMs = this.deps.clock.monotonic();
    const shares = shareUsage(
      end,
      recorded.map(({ member }) => member.joining.weight),
    );
    const isRefused = end.outcome === AttemptOutcome.REJECTED;
    if (isRefused) this.onRefused();
    let from = 0;
    for (const [index, each] of recorded.entries()) {
      const { member, settle } = each;
      const share = shares[index] as Metered;
      const until = from + member.joining.inputs.length;
      const settleAs = (verdict: Verdict) => settle(sharedEnd(member.plan, end, share, verdict, nowMs));
      if (member.gone !== undefined) settleAs(verdictOn(member.gone));
      else if (isRefused) void runSingle(each, false, this.deps);
      else if (end.outcome !== AttemptOutcome.COMPLETED) {
        settleAs(end);
        member.fail(end.failure);
      } else {
        const answer = this.answerOf(member, from, until, share);
        settleAs(answer === undefined ? { outcome: AttemptOutcome.FAILED, failure: broken(member) } : end);
        if (answer === undefined) member.fail(broken(member));
        else member.give(answer);
      }
      from = until;
    }
  }

  private answerOf({ plan, joining }: BatchMember, from: number, until: number, share: Metered) {
    const { vectors = [], model = "" } = this.reading ?? {};
    return sharedAnswer(plan, joining, vectors.slice(from, until), model, share);
  }

  private endUnsent({ member: { plan }, settle }: RecordedMember, failure: Error): void {
    settle(unsentEnd(plan, verdictOn(failure), this.deps.clock.monotonic()));
  }
}

const nothing = Buffer.alloc(0);

function leftMs({ startMs, timeouts }: AttemptPlan, nowMs: number): number {
  return Math.max(startMs + timeouts.totalMs - nowMs, 1);
}

function broken({ plan }: BatchMember): WeirError {
  return unavailable(plan.provider.id, "protocol");
}
