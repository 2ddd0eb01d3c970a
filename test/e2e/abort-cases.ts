import type { AttemptRecord, Script } from "@weir/simulator/simulator";
import type OpenAI from "openai";
import { expect, test, vi } from "vitest";
import type { LedgerRow } from "../ledger.ts";
import { ask, chat, sdk } from "./client.ts";
import type { Weir } from "./weir.ts";

/** Clients that leave, at each stage. */
export function abortCases(weir: () => Weir): void {
  let serial = 0;

  /** Lets a client leave, and resolves with what simulator and ledger say of its only attempt. */
  async function leaving(
    script: Script,
    more: Record<string, unknown>,
    leave: (body: object, user: string) => Promise<void>,
  ): Promise<{ row: LedgerRow; record: AttemptRecord; closedMs: number }> {
    // The request's id is not known to a client that leaves before the head, so the user's name marks the row.
    const user = `leaver-${++serial}`;
    await leave({ ...chat(script, more), user }, user);
    const leftMs = performance.now();
    const attemptOf = () =>
      weir()
        .simulator.received()
        .find(({ body }) => body.includes(`"${user}"`))?.id ?? "";
    await vi.waitFor(() => expect(weir().simulator.attempt(attemptOf())).toHaveLength(1), {
      timeout: 5000,
      interval: 5,
    });
    const closedMs = performance.now() - leftMs;
    const row = await vi.waitFor(
      async () => {
        const rows = (await weir().ledger.rows()).filter((candidate) => candidate.endUser === user);
        expect(rows).toHaveLength(1);
        return rows[0] as LedgerRow;
      },
      { timeout: 10_000, interval: 50 },
    );
    return { row, record: weir().simulator.attempt(row.attemptId)[0] as AttemptRecord, closedMs };
  }

  const afterChunks = (count: number) => async (body: object) => {
    const stream = await sdk(weir()).chat.completions.create({
      ...body,
      stream: true,
    } as OpenAI.ChatCompletionCreateParamsStreaming);
    let chunks = 0;
    for await (const _ of stream) if (++chunks === count) break;
  };

  const afterMs = (ms: number) => async (body: object) => {
    await expect(ask(weir(), body, { signal: AbortSignal.timeout(ms) })).rejects.toMatchObject({
      name: "TimeoutError",
    });
  };

  test("in mid-stream: the provider's connection closes at once, and what came is billed", async () => {
    const { row, record, closedMs } = await leaving({ tokens: 500, gapMs: 10 }, {}, afterChunks(20));
    expect(closedMs).toBeLessThan(1000);
    expect(record).toMatchObject({ end: "abandoned", clientLeft: true });
    expect(row).toMatchObject({ outcome: "cancelled", usageSource: "counted" });
    // What was on its way when the client left may be on either side of the line.
    expect(Math.abs((row.outputTokens ?? 0) - record.outputTokens)).toBeLessThanOrEqual(3);
    expect(row.outputTokens).toBeGreaterThanOrEqual(15);
    expect(row.inputTokens).toBeGreaterThan(0);
    expect(row.costNanoUsd).toBeGreaterThan(0n);
  });

  test("while a stream's first token is awaited", async () => {
    const { row, record, closedMs } = await leaving({ firstTokenMs: 20_000 }, { stream: true }, afterMs(300));
    expect(closedMs).toBeLessThan(1000);
    expect(record).toMatchObject({ end: "abandoned", outputTokens: 0 });
    expect(row.outcome).toBe("cancelled");
  });

  test("before the head of an answer that is not streamed", async () => {
    const { row, record, closedMs } = await leaving({ headMs: 20_000 }, {}, afterMs(300));
    expect(closedMs).toBeLessThan(1000);
    expect(record).toMatchObject({ end: "abandoned" });
    expect(row.outcome).toBe("cancelled");
    expect(row.usageSource).not.toBe("reported");
  });

  test("in the middle of a JSON body", async () => {
    const { row, closedMs } = await leaving({ sliceBytes: 20, gapMs: 100 }, {}, afterMs(400));
    expect(closedMs).toBeLessThan(1000);
    expect(row.outcome).toBe("cancelled");
  });

  test("when a provider goes on regardless, its answer is read to the end and billed exactly", async () => {
    const script: Script = { tokens: 100, gapMs: 10, stopOnAbort: false, billing: "full" };
    const { row, record } = await leaving(script, { model: "relentless" }, afterChunks(10));
    expect(record).toMatchObject({ end: "completed", outputTokens: 100, clientLeft: false });
    expect(row).toMatchObject({ usageSource: "reported", outputTokens: 100, inputTokens: record.inputTokens });
  });

  test("a hundred at once, at random moments: each has its row, and nothing stays open", async () => {
    const before = weir().simulator.counts();
    const delays = Array.from({ length: 100 }, (_, index) => 5 + ((index * 37) % 200));
    const outcomes = await Promise.allSettled(
      delays.map((ms) =>
        ask(weir(), chat({ tokens: 300, gapMs: 2 }, { stream: true, user: "crowd" }), {
          signal: AbortSignal.timeout(ms),
        }),
      ),
    );
    expect(
      outcomes.filter((outcome) => outcome.status === "fulfilled").every((o) => o.value.broken !== undefined),
    ).toBe(true);
    await vi.waitFor(() => expect(weir().simulator.counts().open).toBe(0), { timeout: 2000, interval: 20 });
    const served = weir().simulator.counts().attempts - before.attempts;
    await vi.waitFor(
      async () => {
        const rows = (await weir().ledger.rows()).filter((row) => row.endUser === "crowd");
        expect(rows.length).toBeGreaterThanOrEqual(served);
      },
      { timeout: 10_000, interval: 100 },
    );
  });
}
