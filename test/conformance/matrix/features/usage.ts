import { expect, vi } from "vitest";
import { counts } from "../../vendors/counts.ts";
import type { LedgerReader } from "../../../ledger.ts";
import { answered, type Feature, inBothForms } from "../outcome.ts";
import { question, textReply } from "../speech.ts";

/** All counts of a vendor: the user sees them in the library's way, and the ledger has them. */
export function createUsage(ledger: () => LedgerReader): Feature {
  return inBothForms(async (cell, stream) => {
    const { tokens, wire } = counts[cell.vendor];
    const prepared = cell.prepare({ kind: "answer", events: textReply(tokens) });
    const seen = await prepared.ask({ stream, turns: [{ kind: "user", text: question }] });
    expect(seen.usage).toMatchObject(cell.client.usage(tokens));
    const [call] = prepared.calls();
    expect(wire.filter((member) => call?.sent().replaceAll(": ", ":").includes(member) !== true)).toEqual([]);
    const rows = await vi.waitFor(
      async () => {
        const found = await ledger().query(
          "SELECT outcome, usage_source, usage_inconsistent, input_tokens, cached_input_tokens, cache_write_tokens, " +
            `output_tokens, reasoning_tokens FROM attempts WHERE attempt_id = '${call?.attemptId}'`,
        );
        expect(found).toHaveLength(1);
        return found;
      },
      { timeout: 10_000, interval: 50 },
    );
    const count = (value: number | undefined) => (value === undefined ? null : String(value));
    expect(rows).toEqual([
      {
        outcome: "completed",
        usage_source: "reported",
        usage_inconsistent: false,
        input_tokens: count(tokens.input),
        cached_input_tokens: count(tokens.cached),
        cache_write_tokens: count(tokens.written),
        output_tokens: count(tokens.output),
        reasoning_tokens: count(tokens.reasoning),
      },
    ]);
    return answered(seen);
  });
}
