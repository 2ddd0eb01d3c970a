import { expect, test, vi } from "vitest";
import { ask, chat, errorOf, sdk, usableKey } from "./client.ts";
import type { Weir } from "./weir.ts";

/** Who may call what, and how often. */
export function accessCases(weir: () => Weir): void {
  const flipped = (text: string, at: number) => text.slice(0, at) + (text[at] === "a" ? "b" : "a") + text.slice(at + 1);

  test.each(["x-api-key", "api-key"])("a key in %s is as good", async (name) => {
    const answer = await ask(weir(), chat(), { key: null, headers: { [name]: weir().key } });
    expect(answer.status).toBe(200);
  });

  test("models: listed and got as the key may call them", async () => {
    const secret = await usableKey(weir(), { models: ["chat", "org/*"] });
    const narrow = sdk(weir(), secret);
    const idsOf = async (client: typeof narrow) => {
      const ids: string[] = [];
      for await (const model of client.models.list()) ids.push(model.id);
      return ids;
    };
    expect(await idsOf(sdk(weir()))).toEqual(expect.arrayContaining(["chat", "private", "org/with/slashes"]));
    expect((await idsOf(narrow)).toSorted()).toEqual(["chat", "org/with/slashes"]);
    expect(await narrow.models.retrieve("org/with/slashes")).toMatchObject({ object: "model", id: "org/with/slashes" });
    await expect(narrow.models.retrieve("no-such-model")).rejects.toMatchObject({ status: 404 });
    // What a key may not call looks to it as if it did not exist.
    await expect(narrow.models.retrieve("private")).rejects.toMatchObject({
      status: expect.toSatisfy((s) => s === 404 || s === 403),
    });
  });

  test("a model that the key may not call, one that does not exist, one without a name", async () => {
    const secret = await usableKey(weir(), { models: ["chat"] });
    const forbidden = await ask(weir(), { ...chat(), model: "private" }, { key: secret });
    expect([forbidden.status, errorOf(forbidden).code]).toEqual([403, "model_forbidden"]);
    const unknown = await ask(weir(), { ...chat(), model: "no-such-model" });
    expect([unknown.status, errorOf(unknown).code]).toEqual([404, "model_not_found"]);
    const nameless = await ask(weir(), { messages: [] });
    expect([nameless.status, errorOf(nameless).param]).toEqual([400, "model"]);
  });

  test("a new key works within a second, and a revoked one stops within a second", async () => {
    const { id, secret } = await weir().createKey();
    await vi.waitFor(async () => expect((await ask(weir(), chat(), { key: secret })).status).toBe(200), {
      timeout: 1000,
      interval: 200,
    });
    await weir().revokeKey(id);
    const revoked = performance.now();
    await vi.waitFor(async () => expect((await ask(weir(), chat(), { key: secret })).status).toBe(401), {
      timeout: 1500,
      interval: 20,
    });
    expect(performance.now() - revoked).toBeLessThan(1000);
  });

  test("requests a minute: headers count down, then 429 with the time to wait", async () => {
    const secret = await usableKey(weir(), { requestsPerMinute: 4 });
    const answers = [];
    for (let i = 0; i < 4; i++) answers.push(await ask(weir(), chat(), { key: secret }));
    const remaining = answers.map((answer) => Number(answer.headers.get("x-ratelimit-remaining-requests")));
    expect(answers.map((answer) => answer.headers.get("x-ratelimit-limit-requests"))).toEqual(["4", "4", "4", "4"]);
    expect(remaining.toSorted((a, b) => b - a)).toEqual(remaining);
    const refused = answers.find((answer) => answer.status === 429);
    if (refused === undefined) throw new Error("four requests passed what was left of the limit");
    expect(errorOf(refused)).toMatchObject({ type: "requests", code: "rate_limit_exceeded" });
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(Number(refused.headers.get("retry-after"))).toBeLessThanOrEqual(60);
    expect(refused.headers.get("x-ratelimit-reset-requests")).toMatch(/^(\d+h)?(\d+m)?(\d+(\.\d+)?s|\d+ms)?$/);
    // Another key is not touched by it.
    expect((await ask(weir(), chat())).status).toBe(200);
  });

  test("tokens a minute: what was reserved and not used comes back", async () => {
    const secret = await usableKey(weir(), { tokensPerMinute: 1000 });
    const small = { ...chat({ tokens: 10 }), max_tokens: 200 };
    // Each reserves more than 200 and uses fewer than 20: ten of them fit into 1000 only if the rest comes back.
    for (let i = 0; i < 10; i++) {
      const answer = await ask(weir(), small, { key: secret });
      expect(answer.status, `request ${i}: ${answer.text}`).toBe(200);
      expect(Number(answer.headers.get("x-ratelimit-limit-tokens"))).toBe(1000);
    }
    const large = await ask(weir(), { ...chat({ tokens: 5 }), max_tokens: 5000 }, { key: secret });
    expect(large.status).toBe(429);
    expect(errorOf(large).code).toBe("rate_limit_exceeded");
  });

  test("an unpriced model is refused unless its alias allows it", async () => {
    const answer = await ask(weir(), { ...chat(), model: "unpriced" });
    expect([answer.status, errorOf(answer).code]).toEqual([400, "model_unpriced"]);
    expect((await ask(weir(), { ...chat(), model: "unpriced-allowed" })).status).toBe(200);
  });

  test("no key, no good key: 401, always in the same words", async () => {
    const { key } = weir();
    const parts = key.split("_");
    const wrong: (string | null)[] = [
      null,
      "",
      "sk-nothing",
      "weir_",
      key.slice(0, -1),
      `${key}x`,
      flipped(key, 10),
      flipped(key, key.length - 12),
      flipped(key, key.length - 1),
      `weir_${"a".repeat(16)}_${parts[2]}_${parts[3]}`,
      "x".repeat(10_000),
    ];
    const texts = new Set<string>();
    for (const candidate of wrong) {
      const answer = await ask(weir(), chat(), { key: candidate });
      expect(answer.status, String(candidate).slice(0, 30)).toBe(401);
      expect(errorOf(answer).code).toBe("invalid_api_key");
      expect(answer.requestId).not.toBe("");
      texts.add(answer.text);
    }
    expect(texts.size).toBe(1);
  });

  test("whoever guesses keys is stopped; whoever has one is not", async () => {
    const guess = async (index: number) =>
      (await ask(weir(), undefined, { method: "GET", path: "/v1/models", key: `weir_guess_${index}` })).status;
    const statuses: number[] = [];
    for (let i = 0; i < 60 && statuses.at(-1) !== 429; i++) statuses.push(await guess(i));
    expect(statuses.at(-1)).toBe(429);
    expect((await ask(weir(), chat())).status).toBe(200);
  });
}
