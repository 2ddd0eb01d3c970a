import type { Script } from "@weir/simulator/script";
import { type Answer, ask, chat, events } from "../e2e/client.ts";

/** Requests that run while something breaks. */
export interface Storm {
  readonly requests: readonly PlannedRequest[];
  /** Requests that run at once. */
  readonly atOnce: number;
}

interface PlannedRequest {
  readonly stream: boolean;
  readonly alias: "relentless" | "chat";
  readonly script: Script;
  readonly tokens: number;
}

export interface StormOptions {
  readonly requestCount: number;
  readonly atOnce: number;
  /** How long all of it takes, about, in milliseconds. */
  readonly spanMs: number;
  /** Streams among them that take three seconds unless somebody ends them, first of all. Default 0. */
  readonly longStreams?: number;
}

/** How long a client goes on trying. */
const patienceMs = 15_000;

/** @param random from 0 up to, not with, 1: the storm follows from it */
export function planStorm(random: () => number, options: StormOptions): Storm {
  const { requestCount, atOnce, spanMs, longStreams = 0 } = options;
  const requests = Array.from({ length: requestCount }, (_, index): PlannedRequest => {
    if (index < longStreams) return { stream: true, alias: "chat", tokens: 30, script: { tokens: 30, gapMs: 100 } };
    const tokens = 1 + Math.floor(random() * 40);
    // A request takes as long as its share of the span.
    const takesMs = random() * 2 * ((spanMs * atOnce) / requestCount);
    const stream = random() < 0.6;
    const alias = random() < 0.8 ? "relentless" : "chat";
    const pace: Script = stream ? { gapMs: Math.max(1, takesMs / tokens) } : { headMs: takesMs };
    // The relentless provider bills the whole answer, whoever is still there to read it.
    const manner: Script = alias === "relentless" ? { stopOnAbort: false, billing: "full" } : {};
    return { stream, alias, tokens, script: { tokens, ...pace, ...manner } };
  });
  return { requests, atOnce };
}

/** What clients saw of a storm. */
export interface StormOutcome {
  readonly complete: number;
  /** Refused with a status, cut off, or never connected: all of them plain to the client. */
  readonly failed: number;
  /** Why clients came again, counted: what answers of 503 said, connections that were refused. */
  readonly refusals: Readonly<Record<string, number>>;
  /** How the failed ones failed, counted: HTTP status, `cut off`, `error frame`, `no answer` and why. */
  readonly failures: Readonly<Record<string, number>>;
  /** Answers that a client would take for whole and that are not. Must be empty. */
  readonly lies: readonly string[];
}

export interface Door {
  readonly url: string;
  readonly key: string;
}

/**
 * Runs a storm to the end of its last request.
 * @param tag end user of the requests, and the rest of their models' names
 */
export async function runStorm(door: Door, { requests, atOnce }: Storm, tag: string): Promise<StormOutcome> {
  let next = 0;
  let complete = 0;
  let failed = 0;
  const refusals: Record<string, number> = {};
  const refuse = (why: string) => {
    refusals[why] = (refusals[why] ?? 0) + 1;
  };
  const lies: string[] = [];
  const failures: Record<string, number> = {};
  const fail = (how: string) => {
    failed++;
    failures[how] = (failures[how] ?? 0) + 1;
  };
  const worker = async () => {
    for (let request = requests[next++]; request !== undefined; request = requests[next++]) {
      const { alias, script, stream, tokens } = request;
      const body = chat(script, { model: `${alias}/${tag}`, stream, user: tag });
      const answer = await askPatiently(door, body, refuse);
      if (typeof answer === "string" || answer.status !== 200 || answer.broken !== undefined) {
        fail(typeof answer === "string" ? answer : answer.status === 200 ? "cut off" : `status ${answer.status}`);
        continue;
      }
      const text = stream ? streamedText(answer.text) : textOf(answer.json);
      if (text === undefined) fail("error frame");
      else if (text.length === tokens * 4) complete++;
      else lies.push(`${stream ? "stream" : "answer"} of ${text.length} characters instead of ${tokens * 4}`);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return { complete, failed, refusals, failures, lies };
}

/**
 * One request, sent again while nobody is there to take it, as SDKs do: when the connection is refused, and on 503.
 * @returns the last answer; when the connection broke under it, or was refused all the time, what happened
 */
async function askPatiently(door: Door, body: object, onRefused: (why: string) => void): Promise<Answer | string> {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    let last: Answer | string;
    try {
      last = await ask(door, body);
      if (last.status !== 503) return last;
      const { message = "" } = (last.json?.["error"] ?? {}) as { message?: string };
      onRefused(`${message} (retry-after ${last.headers.get("retry-after")})`);
    } catch (error) {
      const cause = error instanceof Error ? error.cause : undefined;
      const code = cause instanceof Error && "code" in cause ? cause.code : error;
      last = `no answer: ${String(code)}`;
      if (code !== "ECONNREFUSED") return last;
      onRefused("the connection was refused");
    }
    if (performance.now() > deadline) return last;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** The text of a stream; undefined when the stream says that it failed. */
function streamedText(text: string): string | undefined {
  const data = events(text);
  if (data.some((event) => event.startsWith('{"error"'))) return undefined;
  // Without [DONE] and without an error, what came would pass for the whole.
  return data
    .filter((event) => event !== "[DONE]")
    .map(
      (event) =>
        (JSON.parse(event) as { choices: { delta?: { content?: string } }[] }).choices[0]?.delta?.content ?? "",
    )
    .join("");
}

function textOf(json: Record<string, unknown> | undefined): string {
  const choices = json?.["choices"] as { message?: { content?: string } }[] | undefined;
  return choices?.[0]?.message?.content ?? "";
}
