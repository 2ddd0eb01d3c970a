import { expect, test, vi } from "vitest";
import { differences, expectedCost } from "../ledger.ts";
import { ask, chat, testOwnId } from "./client.ts";
import { canaries, priceOf, simulated } from "./setting.ts";
import type { Weir } from "./weir.ts";

/** What must hold over everything that the other cases did; these run last. */
export function moneyCases(weir: () => Weir): void {
  test("two hundred requests at once: every one of them is a row, exact to the token and the nano-USD", async () => {
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, index) =>
        ask(weir(), chat({ tokens: 1 + ((index * 7) % 50) }, { stream: index % 2 === 0, user: "burst" })),
      ),
    );
    expect(answers.filter((answer) => answer.status !== 200 || answer.broken !== undefined)).toEqual([]);
    const rows = await vi.waitFor(
      async () => {
        const found = (await weir().ledger.rows()).filter((row) => row.endUser === "burst");
        expect(found).toHaveLength(200);
        return found;
      },
      { timeout: 15_000, interval: 100 },
    );
    expect(new Set(rows.map((row) => row.requestId))).toEqual(new Set(answers.map((answer) => answer.requestId)));
    const output = rows.reduce((sum, row) => sum + (row.outputTokens ?? 0), 0);
    const expected = answers.reduce((sum, _, index) => sum + 1 + ((index * 7) % 50), 0);
    expect(output).toBe(expected);
  });

  test("the analyst's views say the same as the rows", async () => {
    await vi.waitFor(
      async () => {
        const rows = await weir().ledger.rows();
        const days = await weir().ledger.query<{
          model: string;
          attempts: string;
          cost_nano_usd: string;
          input_tokens: string;
        }>(
          "SELECT model, sum(attempts) AS attempts, sum(cost_nano_usd) AS cost_nano_usd, sum(input_tokens) AS input_tokens FROM cost_by_day GROUP BY model",
        );
        for (const day of days) {
          const own = rows.filter((row) => row.model === day.model);
          expect(own).toHaveLength(Number(day.attempts));
          expect(own.reduce((sum, row) => sum + (row.costNanoUsd ?? 0n), 0n)).toBe(BigInt(day.cost_nano_usd));
          expect(own.reduce((sum, row) => sum + (row.inputTokens ?? 0), 0)).toBe(Number(day.input_tokens));
        }
        expect(days.reduce((sum, day) => sum + Number(day.attempts), 0)).toBe(rows.length);
      },
      { timeout: 5000 },
    );
  });

  test("what clients met with stands beside what it cost", async () => {
    const streamed = await ask(weir(), chat({ tokens: 3 }, { stream: true, user: "met" }));
    const unknown = await ask(weir(), { ...chat({ tokens: 3 }), model: "no-such-model" });
    await vi.waitFor(
      async () => {
        const rows = await weir().ledger.query(
          `SELECT c.request_id, c.status, c.complete, c.error_reason, c.first_content_ms > 0 AS waited, c.first_content_ms <= c.request_ms AS ends,
             r.attempts::int, r.cost_nano_usd > 0 AS paid
           FROM client_requests c LEFT JOIN requests r ON r.request_id = c.request_id WHERE c.request_id IN ('${streamed.requestId}', '${unknown.requestId}')
           ORDER BY c.status`,
        );
        expect(rows).toEqual([
          {
            request_id: streamed.requestId,
            status: 200,
            complete: true,
            error_reason: null,
            waited: true,
            ends: true,
            attempts: 1,
            paid: true,
          },
          {
            request_id: unknown.requestId,
            status: 404,
            complete: true,
            error_reason: "model_not_found",
            waited: null,
            ends: null,
            attempts: null,
            paid: null,
          },
        ]);
      },
      { timeout: 15_000, interval: 100 },
    );
  });

  test("the ledger equals the simulator's count, attempt by attempt, over this whole suite", async () => {
    await vi.waitFor(() => expect(weir().simulator.counts().open).toBe(0), { timeout: 10_000 });
    await vi.waitFor(
      async () => {
        const rows = (await weir().ledger.rows()).filter((row) => simulated.has(row.provider));
        const served = weir()
          .simulator.attempts()
          .filter((record) => record.model !== "sim-unpriced" && record.id !== testOwnId);
        expect(differences(rows, served, priceOf)).toEqual([]);
        // What a provider made of an answer that never came, nobody knows; nothing else may be a guess.
        const guesses = rows.filter((row) => row.usageSource === "estimated");
        expect(guesses.filter((row) => row.stream || row.outcome === "completed")).toEqual([]);
        expect(served.length).toBeGreaterThan(200);
      },
      { timeout: 15_000, interval: 250 },
    );
  });

  test("entries of the ledger sum to zero, and nothing is in conflict", async () => {
    const sums = await weir().ledger.query<{ sum: string }>(
      "SELECT attempt_id, book, sum(amount_nano_usd) AS sum FROM entries GROUP BY attempt_id, book HAVING sum(amount_nano_usd) <> 0",
    );
    expect(sums).toEqual([]);
    expect(await weir().ledger.query("SELECT * FROM conflicts")).toEqual([]);
    expect(expectedCost(priceOf({ provider: "sim" }), 1, 0, 0)).toBe(2500n);
  });

  test("no secret, no prompt and no word of a provider is in any log line or metric", async () => {
    const { prompt, reply } = canaries;
    const script = { text: reply };
    const carrying = { messages: [{ role: "user", content: prompt }], user: "someone" };
    for (const more of [
      {},
      { stream: true },
      { stream: "no" },
      { model: "fallback/canary", x_sim: { ...script, status: 500, errorMessage: canaries.providerText } },
      { x_sim: { ...script, fault: "bad-json" } },
      { stream: true, x_sim: { ...script, fault: "cut-stream" } },
      { stream: true, x_sim: { ...script, fault: "error-frame", errorMessage: canaries.providerText } },
      { model: `canary-model-${prompt}` },
    ]) {
      await ask(weir(), { ...chat(script), ...carrying, ...more });
    }
    await ask(weir(), `{"model":"chat","messages":"${prompt}"`);
    await ask(weir(), chat(), { key: `${weir().key}-${prompt}` });
    await ask(weir(), undefined, { method: "GET", path: `/v1/models?key=${weir().key}&q=${prompt}` });
    await ask(weir(), undefined, { method: "GET", path: `/${prompt}` });
    const { text: metrics } = await ask(weir(), undefined, { method: "GET", path: "/metrics" });
    const parts = weir().key.split("_");
    const words = [...Object.values(canaries), weir().key, parts[2] as string];
    const output = weir().output();
    for (const [place, text] of [
      ["metrics", metrics],
      ["output", output],
    ] as const) {
      for (const word of words) expect(text.includes(word), `${word.slice(0, 24)} in ${place}`).toBe(false);
    }
    expect(output).toContain("{");
  });

  test("no process has ended in all this", async () => {
    expect(weir().pids()).toEqual(weir().startPids);
    const { json } = await ask(weir(), undefined, { method: "GET", path: "/health" });
    expect(json).toMatchObject({ status: "ok" });
  });
}
