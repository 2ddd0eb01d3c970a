import type { Cell } from "./cell.ts";
import type { Raised, Seen } from "./client.ts";

/** What became of one feature in one cell. */
export type Outcome =
  | {
      readonly kind: "answered";
      /** Whether the feature itself arrived: a hint may be left out. */
      readonly carried: boolean;
      /** What the gateway says of it: `x-weir-warnings`. */
      readonly warnings: string;
    }
  /** The gateway refused the request, and no vendor heard of it. */
  | { readonly kind: "refused"; readonly raised: Raised };

/** Drives one cell, and throws when anything is not as it must be in every cell. */
export type Feature = (cell: Cell) => Promise<Outcome>;

/** The gateway refused a request. */
export class Refused extends Error {
  override readonly name = "Refused";
  readonly raised: Raised;

  constructor(raised: Raised) {
    super(`${raised.name}: ${raised.message}`);
    this.raised = raised;
  }
}

export function answered({ warnings }: Pick<Seen, "warnings">, carried = true): Outcome {
  return { kind: "answered", carried, warnings };
}

/** Runs a feature, whatever comes of it. */
export async function outcomeOf(feature: Feature, cell: Cell): Promise<Outcome> {
  try {
    return await feature(cell);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return { kind: "refused", raised: error.raised };
  }
}

/** A feature that must come out the same for an answer that is read whole and for one that is read as a stream. */
export function inBothForms(run: (cell: Cell, stream: boolean) => Promise<Outcome>): Feature {
  return async (cell) => {
    const whole = await outcomeOf(() => run(cell, false), cell);
    const streamed = await outcomeOf(() => run(cell, true), cell);
    if (JSON.stringify(whole) === JSON.stringify(streamed)) return whole;
    throw new Error(`whole: ${JSON.stringify(whole)}\nas a stream: ${JSON.stringify(streamed)}`);
  };
}
