import type { BudgetHold } from "@weir/gen/weir/metering/v1/usage_event_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import { priceUsage } from "@weir/price/charge";
import type { Price } from "@weir/price/price";
import { amountOf, type TokenRates } from "./amounts.ts";
import type { Held } from "./lease-book.ts";
import type { Lender } from "./lender.ts";

/** What a hold needs to grow. */
export interface Growth {
  readonly lender: Lender;
  readonly price: Price;
  readonly rates: TokenRates;
  /** Output that is covered from the beginning. */
  readonly outputTokens: number;
  /** The most that the provider may answer with. */
  readonly outputTokensMax: number;
}

/** Output for which a stream gets more money at once; where that cannot be had half of it is asked for, and so on. */
const stepTokensMax = 1_024;
const stepTokensMin = 64;
/** More is asked for when so little of the covered output is left. */
const leadTokens = 512;

/** What is set aside for one call. It grows with a stream; whatever happens, it is ended once. */
export class CallHold {
  private readonly held: Held;
  private readonly growth: Growth;
  /** Output whose cost is set aside. */
  private covered: number;
  private stepTokens = stepTokensMax;
  /** More is not asked for again before so much output has come. */
  private askAgainAt = 0;
  private growing: "can" | "waits" | "need-not" = "can";
  /** None of the budgets that it was for is enforced any more. */
  private unbounded = false;
  /** Whether the intent is on record, so that a settlement will follow. */
  private kept = false;
  /** What the intent said, and the amount that it said it of. */
  private record: BudgetHold | undefined;
  private recordedAmount = 0;

  constructor(held: Held, growth: Growth) {
    this.held = held;
    this.growth = growth;
    this.covered = growth.outputTokens;
    if (this.covered >= growth.outputTokensMax) this.growing = "need-not";
  }

  /**
   * Says how far a stream came; asks for more before what is set aside is used up.
   * @param outputTokens a guess at what has come so far
   * @returns whether the stream may go on
   */
  covers(outputTokens: number): boolean {
    if (outputTokens + leadTokens <= this.covered || this.growing === "need-not") return true;
    if (this.growing === "can" && outputTokens >= this.askAgainAt) this.grow(outputTokens);
    return outputTokens < this.covered || this.isEnough();
  }

  /** What the intent says: the least that the ledger must know if this process dies. */
  toRecord(): BudgetHold {
    this.recordedAmount = this.held.amount;
    return (this.record = this.message(this.recordedAmount));
  }

  /** The intent is on record: from now on only the settlement ends the hold. */
  keep(): void {
    this.kept = true;
  }

  /**
   * Ends the hold; once. What the call cost by its price is spent, the rest is free again.
   * @param outcome word of weir.metering.v1.AttemptOutcome, in lower case
   * @returns what the usage event says: the charge is no more than what was set aside
   */
  end(outcome: string, usage: Usage): BudgetHold {
    const { lender, price } = this.growth;
    const { chargeNanoUsd } = priceUsage(outcome, usage, price);
    lender.settle(this.held, chargeNanoUsd === null ? this.held.amount : Number(chargeNanoUsd));
    if (this.unbounded) return this.message(undefined);
    // Most holds end as they began.
    return this.record !== undefined && this.recordedAmount === this.held.amount
      ? this.record
      : this.message(this.held.amount);
  }

  /** Nothing is on record of the call: nothing is spent. */
  giveUp(): void {
    if (!this.kept) this.growth.lender.settle(this.held, 0);
  }

  /** What is left, at the least, in all budgets that are about the call, in nano-USD; undefined: not known. */
  get remainingNanoUsd(): number | undefined {
    let least: number | undefined;
    for (const { account, free } of this.held.leases) {
      const word = this.growth.lender.wordOf(account);
      if (word !== undefined) least = Math.min(least ?? Infinity, word.remaining + free);
    }
    return least;
  }

  /** Soft limits that were crossed: `team-a 80`. */
  get softLimits(): string[] {
    return this.held.leases.flatMap(({ account }) => {
      const percent = this.growth.lender.wordOf(account)?.softPercent ?? 0;
      return percent === 0 ? [] : [`${account.budget} ${percent}`];
    });
  }

  private grow(outputTokens: number): void {
    const { lender, rates, outputTokensMax } = this.growth;
    const tokens = Math.min(this.stepTokens, outputTokensMax - this.covered);
    this.growing = "waits";
    lender.extend(this.held, amountOf(rates, 0, tokens), (kind) => {
      if (kind === "refused") {
        this.stepTokens = Math.max(stepTokensMin, this.stepTokens / 2);
        this.askAgainAt = outputTokens + stepTokensMin;
        this.growing = "can";
      } else if (kind === "free") {
        this.growing = "need-not";
        this.unbounded = true;
      } else {
        this.covered += tokens;
        this.stepTokens = Math.min(stepTokensMax, this.stepTokens * 2);
        this.growing = this.covered >= outputTokensMax ? "need-not" : "can";
      }
    });
  }

  /** Asked behind a call that may have changed it. */
  private isEnough(): boolean {
    return this.growing === "need-not";
  }

  private message(chargeMax: number | undefined): BudgetHold {
    return {
      $typeName: "weir.metering.v1.BudgetHold",
      leaseIds: this.held.leases.map(({ id }) => id),
      ...(chargeMax === undefined ? undefined : { chargeMaxNanoUsd: BigInt(chargeMax) }),
    };
  }
}
