import { undatedModel } from "@weir/price/price";
import type { BatchHoldColumn } from "../schema.ts";

/** What is set aside for the requests of a batch to one model. Amounts in nano-USD. */
export interface HeldPart {
  /** As the lines of the input file name it. */
  readonly model: string;
  /** Leases that each have the amount; none: no budget is about it. */
  readonly leaseIds: readonly bigint[];
  readonly chargeMax: bigint;
}

export function toHoldColumn(parts: readonly HeldPart[]): BatchHoldColumn {
  return {
    parts: parts.map(({ model, leaseIds, chargeMax }) => ({
      model,
      leaseIds: leaseIds.map(String),
      chargeMaxNanoUsd: String(chargeMax),
    })),
  };
}

/** @param column null: nothing is set aside */
export function fromHoldColumn(column: BatchHoldColumn | null): HeldPart[] {
  return (column?.parts ?? []).map(({ model, leaseIds, chargeMaxNanoUsd }) => ({
    model,
    leaseIds: leaseIds.map(BigInt),
    chargeMax: BigInt(chargeMaxNanoUsd),
  }));
}

/** What one model used of a batch. */
export interface PricedUse {
  /** As its provider names it. */
  readonly model: string;
  /** Null: not known. */
  readonly costNanoUsd: bigint | null;
}

/** What a use may be charged. */
export interface Allotment {
  /** The most that its tenant pays; null: nothing bounds it. */
  readonly chargeMax: bigint | null;
  /** The leases that it takes from, and the most that each has for it. */
  readonly takes: readonly { readonly leaseId: bigint; readonly most: bigint }[];
}

/**
 * The part that is for a model: of its name, else of its name without the date at its end, else the only one.
 * @param model as the provider says it served: `gpt-5-2025-08-07` of `gpt-5`
 */
export function partOf(parts: readonly HeldPart[], model: string): HeldPart | undefined {
  const named = (name: string) => parts.find((part) => part.model === name);
  return named(model) ?? named(undatedModel(model)) ?? (parts.length === 1 ? parts[0] : undefined);
}

/**
 * Divides what is set aside for a batch among what its models used, so that no lease is charged more than it has. Pure, and the same for the
 * same uses. A use of a model that no line names may be of any of them: it takes from every lease what the others leave.
 * @returns one for each use, in their order
 */
export function allot(uses: readonly PricedUse[], parts: readonly HeldPart[]): Allotment[] {
  const rests = new Map(parts.map((part) => [part, part.chargeMax]));
  const allotments = new Map<PricedUse, Allotment>();
  for (const use of uses) {
    const part = partOf(parts, use.model);
    if (part === undefined) continue;
    const rest = rests.get(part) ?? 0n;
    rests.set(part, rest - taken(use, rest));
    const isBounded = part.leaseIds.length > 0;
    const takes = part.leaseIds.map((leaseId) => ({ leaseId, most: rest }));
    allotments.set(use, { chargeMax: isBounded ? rest : null, takes });
  }
  const left = new Map<bigint, bigint>();
  for (const [{ leaseIds }, rest] of rests) for (const id of leaseIds) left.set(id, (left.get(id) ?? 0n) + rest);
  const isBounded = parts.length > 0 && parts.every(({ leaseIds }) => leaseIds.length > 0);
  for (const use of uses) {
    if (allotments.has(use)) continue;
    const takes = Array.from(left, ([leaseId, most]) => ({ leaseId, most }));
    const chargeMax = isBounded ? takes.reduce((sum, { most }) => (most > sum ? most : sum), 0n) : null;
    allotments.set(use, { chargeMax, takes });
    for (const { leaseId, most } of takes) left.set(leaseId, most - taken(use, most));
  }
  return uses.map((use) => allotments.get(use) ?? nothing);
}

const nothing: Allotment = { chargeMax: null, takes: [] };

function taken({ costNanoUsd }: PricedUse, most: bigint): bigint {
  return costNanoUsd === null || costNanoUsd > most ? most : costNanoUsd;
}
