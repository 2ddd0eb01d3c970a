import type { Script } from "@weir/simulator/simulator";
import OpenAI from "openai";
import { describe, expect, test } from "vitest";
import { ask, chat, errorOf, events, exactRow, rowsOf, sdk, servedOf } from "./client.ts";
import { canaries } from "./setting.ts";
import type { Weir } from "./weir.ts";

/** Providers that fail, each in its way: what the client sees, and what the ledger says. */
export function failureCases(weir: () => Weir): void {
  const streamed = { stream: true };
  let serial = 0;
  /** A model that no other case has called: targets that asked for a pause are left in peace for a while. */
  const fresh = () => `fresh-${++serial}`;

  describe.concurrent("before content", () => {
    test.each<[string, Script]>([
      ["resets the connection", { fault: "reset" }],
      ["closes the connection", { fault: "close" }],
      ["answers with garbage", { fault: "garbage" }],
      ["answers 500", { status: 500 }],
      ["answers 503", { status: 503 }],
      ["answers 529", { status: 529 }],
      ["answers 429", { status: 429 }],
      ["dies after the head", { fault: "reset-stream", after: 0 }],
      ["breaks off after the role", { fault: "cut-stream", after: 0 }],
      ["ends in order without content", { fault: "end-stream", after: 0 }],
      ["sends an error as its first frame", { fault: "error-frame", after: 0 }],
      ["sends an error event first", { fault: "error-event", after: 0 }],
      ["sends a page", { fault: "html" }],
      ["sends nothing", { fault: "empty" }],
      ["sends an error with status 200", { fault: "error-body" }],
      ["rejects Weir's key", { status: 401 }],
      ["has no quota for Weir's key", { status: 402 }],
    ])("a provider that %s: the next one answers, streamed or not", async (_name, script) => {
      for (const more of [streamed, {}]) {
        if (script.after === 0 && more !== streamed) continue;
        const model = fresh();
        const body = chat({ models: { [model]: script } }, more);
        const answer = await ask(weir(), { ...body, model: `fallback/${model}` });
        expect(answer.status, answer.text).toBe(200);
        expect(answer.broken).toBeUndefined();
        expect(answer.text).toContain("sim-second");
        expect(answer.text).not.toContain(model);
        const rows = await rowsOf(weir(), answer.requestId, 2);
        expect(rows.map((row) => [row.provider, row.model])).toEqual([
          ["sim", model],
          ["backup", "sim-second"],
        ]);
        expect(rows[1]).toMatchObject({ outcome: "completed", usageSource: "reported" });
        expect(rows[0]?.outcome).not.toBe("completed");
      }
    });

    test("a provider that nobody can reach: the next one answers", async () => {
      const answer = await ask(weir(), { ...chat(), model: "refused-first" });
      expect(answer.status).toBe(200);
      expect(answer.text).toContain("sim-second");
    });

    test.each([
      ["refused", 503],
      ["reset", 503],
      ["bad-tls", 503],
      ["hung", 504],
    ])("no provider left (%s): a true status, and an error body", async (model, status) => {
      const started = performance.now();
      for (const more of [streamed, {}]) {
        const answer = await ask(weir(), { ...chat(), ...more, model });
        expect(answer.status).toBe(status);
        expect(errorOf(answer)).toMatchObject({ type: "server_error" });
      }
      expect(performance.now() - started).toBeLessThan(5000);
    });

    test("a failure that passes is tried again at the same target", async () => {
      const model = fresh();
      weir().simulator.script({ status: 500 }, { model });
      const answer = await ask(weir(), { ...chat(), model: `retried/${model}` });
      expect(answer.status).toBe(200);
      const rows = await rowsOf(weir(), answer.requestId, 2);
      expect(rows.map((row) => row.outcome)).toEqual(["failed", "completed"]);
    });

    test("a short Retry-After is waited for", async () => {
      const model = fresh();
      weir().simulator.script({ status: 429, retryAfterMs: 300 }, { model });
      const started = performance.now();
      const answer = await ask(weir(), { ...chat(), model: `retried/${model}` });
      expect(answer.status).toBe(200);
      expect(performance.now() - started).toBeGreaterThanOrEqual(295);
    });

    test.each<[string, Script, number, number]>([
      ["seconds", { retryAfter: "30" }, 30, 30],
      ["milliseconds", { retryAfterMs: 30_000 }, 30, 30],
      ["a date", {}, 50, 60],
    ])("a long Retry-After, in %s, reaches the client", async (_name, script, least, most) => {
      const date = new Date(Date.now() + 58_000).toUTCString();
      const told = least === 50 ? { retryAfter: date } : script;
      const answer = await ask(weir(), { ...chat({ status: 429, ...told }), model: `single/${fresh()}` });
      expect(answer.status).toBe(429);
      expect(errorOf(answer)).toMatchObject({ code: "rate_limit_exceeded" });
      const seconds = Number(answer.headers.get("retry-after"));
      expect(seconds).toBeGreaterThanOrEqual(least);
      expect(seconds).toBeLessThanOrEqual(most);
    });

    test("all attempts fail: 503, and a row for each attempt", async () => {
      const answer = await ask(weir(), { ...chat({ status: 500 }), model: `retried/${fresh()}` });
      expect(answer.status).toBe(503);
      expect(await rowsOf(weir(), answer.requestId, 3)).toMatchObject([
        { outcome: "failed" },
        { outcome: "failed" },
        { outcome: "failed" },
      ]);
    });

    test.each([400, 404, 409, 413, 422])(
      "the provider refuses the request itself (%i): the client learns it, once",
      async (status) => {
        const answer = await ask(weir(), { ...chat({ status }), model: `retried/${fresh()}` });
        expect(answer.status).toBeGreaterThanOrEqual(400);
        expect(answer.status).toBeLessThan(500);
        errorOf(answer);
        expect(await rowsOf(weir(), answer.requestId)).toMatchObject([{ outcome: "rejected", costNanoUsd: 0n }]);
      },
    );

    test("a refusal reads the same when a stream was asked for", async () => {
      await expect(
        sdk(weir()).chat.completions.create({
          ...chat({ status: 400 }),
          stream: true,
        } as OpenAI.ChatCompletionCreateParamsStreaming),
      ).rejects.toBeInstanceOf(OpenAI.BadRequestError);
    });

    test.each([401, 403])("the provider refuses Weir's key (%i): not the client's fault", async (status) => {
      const answer = await ask(weir(), {
        ...chat({ status, errorMessage: canaries.providerText }),
        model: `single/${fresh()}`,
      });
      expect(answer.status).toBe(503);
      expect(answer.text).not.toContain(canaries.providerText);
    });
  });

  describe.concurrent("after content", () => {
    const cuts: [string, Script][] = [
      ["resets the connection", { fault: "reset-stream" }],
      ["breaks off", { fault: "cut-stream" }],
      ["ends in order, without finish and [DONE]", { fault: "end-stream" }],
      ["sends an error frame", { fault: "error-frame", errorMessage: canaries.providerText }],
      ["sends an error event", { fault: "error-event", errorMessage: canaries.providerText }],
      ["sends broken JSON", { fault: "bad-json" }],
      ["sends a line of 10 MB", { fault: "long-line" }],
    ];
    test.each(cuts)("a stream that %s: the SDK raises", async (_name, script) => {
      const { data: stream, request_id } = await sdk(weir())
        .chat.completions.create({
          ...chat({ tokens: 9, ...script }),
          stream: true,
        } as OpenAI.ChatCompletionCreateParamsStreaming)
        .withResponse();
      let text = "";
      const read = async () => {
        for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
      };
      await expect(read()).rejects.toBeInstanceOf(Error);
      expect(text).toHaveLength(12);
      const [row] = await rowsOf(weir(), request_id ?? "");
      expect(row?.outcome).toBe("truncated");
      expect(row?.usageSource).not.toBe("estimated");
      const record = await servedOf(weir(), row ?? { attemptId: "" });
      if (script.fault !== "bad-json" && script.fault !== "long-line")
        expect(row?.outputTokens).toBe(record.outputTokens);
    });

    test.each(cuts)("a stream that %s: an error frame in fixed words, no [DONE]", async (_name, script) => {
      const answer = await ask(weir(), chat({ tokens: 9, ...script }, streamed));
      expect(answer.status).toBe(200);
      const data = events(answer.text);
      expect(data).not.toContain("[DONE]");
      expect(answer.text).not.toContain(canaries.providerText);
      expect(answer.text).not.toContain('"finish_reason":"stop"');
      const last = JSON.parse(data.at(-1) ?? "{}") as { error?: object };
      expect(Object.keys(last.error ?? {}).toSorted()).toEqual(["code", "message", "param", "type"]);
    });

    test.each(["cut-stream", "reset-stream", "bad-json", "length-long"] as const)(
      "a JSON answer that is not whole (%s) is an error, not half an answer",
      async (fault) => {
        const answer = await ask(weir(), chat({ fault, after: 40 }));
        expect(answer.status).toBeGreaterThanOrEqual(500);
        errorOf(answer);
        await rowsOf(weir(), answer.requestId);
      },
    );
  });

  describe("timers", () => {
    test("first token of a stream", async () => {
      const started = performance.now();
      const answer = await ask(weir(), { ...chat({ firstTokenMs: 5000 }, streamed), model: "slow-first-token" });
      const took = performance.now() - started;
      expect(answer.status).toBe(504);
      expect(took).toBeGreaterThanOrEqual(380);
      expect(took).toBeLessThan(1000);
      const [row] = await rowsOf(weir(), answer.requestId);
      expect(await servedOf(weir(), row ?? { attemptId: "" })).toMatchObject({ clientLeft: true });
    });

    test("total, of an answer that is not streamed", async () => {
      const started = performance.now();
      const answer = await ask(weir(), { ...chat({ headMs: 5000 }), model: "slow-total" });
      const took = performance.now() - started;
      expect(answer.status).toBe(504);
      expect(took).toBeGreaterThanOrEqual(580);
      expect(took).toBeLessThan(1200);
      const [row] = await rowsOf(weir(), answer.requestId);
      expect(await servedOf(weir(), row ?? { attemptId: "" })).toMatchObject({ clientLeft: true });
    });

    test("idle", async () => {
      const started = performance.now();
      const answer = await ask(weir(), { ...chat({ fault: "stall", tokens: 9 }, streamed), model: "slow-idle" });
      expect(performance.now() - started).toBeLessThan(1500);
      expect(events(answer.text)).not.toContain("[DONE]");
      expect(events(answer.text).at(-1)).toContain('"error"');
      const [row] = await rowsOf(weir(), answer.requestId);
      expect(row).toMatchObject({ outcome: "truncated", outputTokens: 3 });
    });

    test("total", async () => {
      const started = performance.now();
      const answer = await ask(weir(), { ...chat({ tokens: 90, gapMs: 50 }, streamed), model: "slow-total" });
      const took = performance.now() - started;
      expect(took).toBeGreaterThanOrEqual(550);
      expect(took).toBeLessThan(1500);
      expect(events(answer.text)).not.toContain("[DONE]");
      expect(events(answer.text).at(-1)).toContain('"error"');
    });

    test("a trickle of bytes does not pass for content", async () => {
      // A byte every 50 ms: a frame takes ten seconds, and no content comes in time.
      const answer = await ask(weir(), {
        ...chat({ sliceBytes: 1, gapMs: 50, tokens: 3 }, streamed),
        model: "slow-first-token",
      });
      expect(answer.status).toBe(504);
    });
  });

  describe.concurrent("oddities", () => {
    test.each([
      "crlf",
      "cr",
      "mixed-ends",
      "bom",
      "comments",
      "no-final-blank",
      "no-space",
      "two-data-lines",
      "unknown-events",
      "id-null",
      "no-role",
    ])("a stream with %s is read to its end, and billed exactly", async (sse) => {
      const text = "müde 🌊 river";
      for (const pace of [{}, { sliceBytes: 3, gapMs: 0 }]) {
        const { data: stream, request_id } = await sdk(weir())
          .chat.completions.create({
            ...chat({ sse, text, ...pace }),
            stream: true,
          } as OpenAI.ChatCompletionCreateParamsStreaming)
          .withResponse();
        let read = "";
        for await (const chunk of stream) read += chunk.choices?.[0]?.delta.content ?? "";
        expect(read).toBe(text);
        await exactRow(weir(), request_id ?? "");
      }
    });

    test.each(["with-choices", "doubled", "every-chunk", "always"] as const)(
      "usage %s is read right",
      async (usage) => {
        const answer = await ask(weir(), chat({ usage, tokens: 7 }, streamed));
        expect(answer.broken).toBeUndefined();
        expect(await exactRow(weir(), answer.requestId)).toMatchObject({ outputTokens: 7 });
      },
    );

    test.each(["none", "null"] as const)("usage %s: counted, and marked so", async (usage) => {
      for (const more of [streamed, {}]) {
        const answer = await ask(weir(), chat({ usage, tokens: 8 }, more));
        expect(answer.status).toBe(200);
        const [row] = await rowsOf(weir(), answer.requestId);
        expect(row?.usageSource).toBe("counted");
        expect(row?.outputTokens).toBeGreaterThan(0);
      }
    });

    test("a stream that lacks only its [DONE] is complete, and the client gets one", async () => {
      const answer = await ask(weir(), chat({ fault: "no-done", tokens: 7 }, streamed));
      expect(answer.text.endsWith("data: [DONE]\n\n")).toBe(true);
      expect(answer.text).not.toContain('"error"');
      expect(await exactRow(weir(), answer.requestId)).toMatchObject({ outcome: "completed", outputTokens: 7 });
    });
  });
}
