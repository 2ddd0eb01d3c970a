import type { Role } from "@weir/gen/weir/common/v1/access_pb";
import type { AttemptRecord, Script } from "@weir/simulator/simulator";
import OpenAI from "openai";
import { expect, vi } from "vitest";
import { expectedCost, type LedgerRow } from "../ledger.ts";
import { priceOf } from "./setting.ts";
import type { KeyScope, Weir } from "./weir.ts";

/** The official SDK, which must not hide failures by trying again. */
export function sdk(weir: Weir, key = weir.key): OpenAI {
  return new OpenAI({ baseURL: `${weir.url}/v1`, apiKey: key, maxRetries: 0 });
}

/** A chat request that scripts the simulator. */
export function chat(script: Script = {}, more: Record<string, unknown> = {}) {
  return { model: "chat", messages: [{ role: "user" as const, content: "hello there" }], x_sim: script, ...more };
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The body as JSON; undefined when it is not. */
  readonly json: Record<string, unknown> | undefined;
  readonly requestId: string;
  /** How the body broke off; undefined when it ended in order. */
  readonly broken: unknown;
}

export interface AskOptions {
  readonly key?: string | null;
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** One request, read to its end, whatever comes. */
export async function ask(weir: Pick<Weir, "url" | "key">, body: unknown, options: AskOptions = {}): Promise<Answer> {
  const key = options.key === undefined ? weir.key : options.key;
  const response = await fetch(`${weir.url}${options.path ?? "/v1/chat/completions"}`, {
    method: options.method ?? "POST",
    headers: {
      ...(key === null ? {} : { authorization: `Bearer ${key}` }),
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...options.headers,
    },
    ...(body === undefined
      ? {}
      : { body: typeof body === "string" || body instanceof Uint8Array ? body : JSON.stringify(body) }),
    signal: options.signal ?? AbortSignal.timeout(30_000),
  });
  let text = "";
  let broken: unknown;
  const decoder = new TextDecoder();
  try {
    if (response.body !== null)
      for await (const chunk of response.body) text += decoder.decode(chunk, { stream: true });
  } catch (error) {
    broken = error;
  }
  let json: Answer["json"];
  try {
    json = JSON.parse(text) as Record<string, unknown>;
  } catch {
    json = undefined;
  }
  const requestId = response.headers.get("x-request-id") ?? "";
  return { status: response.status, headers: response.headers, text, json, requestId, broken };
}

/** A new key, when the edge knows it. Asks seldom: failures with unknown keys are limited. */
export async function usableKey(weir: Weir, scope: KeyScope, role?: Role): Promise<string> {
  const { secret } = await weir.createKey(scope, role);
  await vi.waitFor(
    async () => {
      const answer = await ask(weir, undefined, { key: secret, method: "GET", path: "/v1/models" });
      // 401: not known yet; 429: the same, after other tests have guessed too often.
      expect([200, 403]).toContain(answer.status);
    },
    { timeout: 3000, interval: 250 },
  );
  return secret;
}

/** The attempt id of requests that a test sends to the simulator itself. */
export const testOwnId = "sent-by-the-test";

/** One request to the simulator without a gateway: what its answer should look like through one. */
export async function askDirectly(weir: Weir, body: object): Promise<string> {
  const response = await fetch(`${weir.simulatorUrl}/v1/chat/completions`, {
    method: "POST",
    headers: { "x-client-request-id": testOwnId },
    body: JSON.stringify(body),
  });
  return response.text();
}

/** What an error body says. */
export function errorOf(answer: Answer): { message: string; type: string; param: unknown; code: unknown } {
  const error = (answer.json as { error?: Record<string, unknown> } | undefined)?.error;
  expect(Object.keys(error ?? {}).toSorted(), answer.text.slice(0, 500)).toEqual(["code", "message", "param", "type"]);
  return error as ReturnType<typeof errorOf>;
}

/** The data of each event of a stream. */
export function events(text: string): string[] {
  return text.split(/\r\n\r\n|\n\n|\r\r/).flatMap((event) => {
    const data = event
      .split(/\r\n|\n|\r/)
      .filter((line) => line.startsWith("data:"))
      .map((line) => line.slice(5).replace(/^ /, ""));
    return data.length === 0 ? [] : [data.join("\n")];
  });
}

/** Waits until so many rows stand in the ledger for a request. */
export async function rowsOf(weir: Weir, requestId: string, count = 1): Promise<LedgerRow[]> {
  expect(requestId).not.toBe("");
  return vi.waitFor(
    async () => {
      const rows = await weir.ledger.rows({ requestId });
      expect(rows, `rows of ${requestId}`).toHaveLength(count);
      return rows;
    },
    { timeout: 10_000, interval: 50 },
  );
}

/** Waits for the one row of a request and what the simulator says about it, and compares the two. */
export async function exactRow(weir: Weir, requestId: string): Promise<LedgerRow> {
  const [row] = (await rowsOf(weir, requestId)) as [LedgerRow];
  const record = await servedOf(weir, row);
  expect(row).toMatchObject({
    usageSource: "reported",
    inputTokens: record.inputTokens,
    outputTokens: record.outputTokens,
    model: record.model,
  });
  const cached = row.cachedInputTokens ?? 0;
  expect(row.costNanoUsd).toBe(expectedCost(priceOf(row), record.inputTokens, cached, record.outputTokens));
  return row;
}

/** What the simulator says about a row's attempt, once it has ended there. */
export async function servedOf(weir: Weir, row: Pick<LedgerRow, "attemptId">): Promise<AttemptRecord> {
  return vi.waitFor(
    () => {
      const records = weir.simulator.attempt(row.attemptId);
      expect(records, `servings of ${row.attemptId}`).toHaveLength(1);
      return records[0] as AttemptRecord;
    },
    { timeout: 10_000, interval: 20 },
  );
}
