import { createRandom, type Script } from "@weir/simulator/script";
import { type Answer, ask, chat, events } from "../e2e/client.ts";
import type { Weir } from "../e2e/weir.ts";

/** How many trials to run and from which seed: WEIR_FAULT_SEED and WEIR_FAULT_TRIALS, else a new seed. */
export function trialSettings(env: NodeJS.ProcessEnv, trialsByDefault: number) {
  return {
    firstSeed: Number(env["WEIR_FAULT_SEED"] ?? Math.floor(Math.random() * 1e9)),
    trialCount: Number(env["WEIR_FAULT_TRIALS"] ?? trialsByDefault),
    requestCount: 200,
  };
}

/** One trial: requests that run while a process is killed. Everything in it follows from its seed. */
export interface Trial {
  readonly seed: number;
  readonly victim: string;
  /** When the process is killed, in milliseconds from the first request. */
  readonly killAfterMs: number;
  readonly requests: readonly PlannedRequest[];
}

interface PlannedRequest {
  readonly stream: boolean;
  readonly model: "relentless" | "chat";
  readonly script: Script;
  readonly tokens: number;
}

export interface PlanOptions {
  /** Names of processes that may be killed. */
  readonly victims: readonly string[];
  readonly requestCount: number;
}

/** How long the requests of a trial go on, about. */
const spanMs = 2500;
const atOnce = 25;
/** How long a client goes on trying. */
const patienceMs = 15_000;

export function planTrial(seed: number, { victims, requestCount }: PlanOptions): Trial {
  const random = createRandom(seed);
  const pick = <T>(list: readonly T[]) => list[Math.floor(random() * list.length)] as T;
  const victim = pick(victims);
  const killAfterMs = Math.floor(random() * spanMs * 0.8);
  const requests = Array.from({ length: requestCount }, (): PlannedRequest => {
    const tokens = 1 + Math.floor(random() * 40);
    // A request takes as long as its share of the span.
    const takesMs = random() * 2 * ((spanMs * atOnce) / requestCount);
    const stream = random() < 0.6;
    const model = random() < 0.8 ? "relentless" : "chat";
    const pace: Script = stream ? { gapMs: Math.max(1, takesMs / tokens) } : { headMs: takesMs };
    // The relentless provider bills the whole answer, whoever is still there to read it.
    const manner: Script = model === "relentless" ? { stopOnAbort: false, billing: "full" } : {};
    return { stream, model, tokens, script: { tokens, ...pace, ...manner } };
  });
  return { seed, victim, killAfterMs, requests };
}

/** What clients saw of a trial. */
export interface TrialOutcome {
  readonly complete: number;
  /** Refused with a status, cut off, or never connected: all of them plain to the client. */
  readonly failed: number;
  /** How the failed ones failed, counted: HTTP status, `cut off`, `error frame`, `no answer`. */
  readonly failures: Readonly<Record<string, number>>;
  /** Answers that a client would take for whole and that are not. Must be empty. */
  readonly lies: readonly string[];
  /** When the process was killed, in milliseconds since 1970. */
  readonly killedAtMs: number;
}

/** Runs a trial to the end of its last request. */
export async function runTrial(
  weir: Pick<Weir, "url" | "key" | "kill">,
  trial: Trial,
  user: string,
): Promise<TrialOutcome> {
  let next = 0;
  let complete = 0;
  let failed = 0;
  let killedAtMs = 0;
  const lies: string[] = [];
  const failures: Record<string, number> = {};
  const fail = (how: string) => {
    failed++;
    failures[how] = (failures[how] ?? 0) + 1;
  };
  const kill = setTimeout(() => {
    killedAtMs = Date.now();
    weir.kill(trial.victim);
  }, trial.killAfterMs);

  const worker = async () => {
    for (let request = trial.requests[next++]; request !== undefined; request = trial.requests[next++]) {
      const { model, script, stream, tokens } = request;
      const answer = await askPatiently(weir, chat(script, { model, stream, user }));
      if (answer === undefined || answer.status !== 200 || answer.broken !== undefined) {
        fail(answer === undefined ? "no answer" : answer.status === 200 ? "cut off" : `status ${answer.status}`);
        continue;
      }
      const text = stream ? streamedText(answer.text) : textOf(answer.json);
      if (text === undefined) fail("error frame");
      else if (text.length === tokens * 4) complete++;
      else lies.push(`${stream ? "stream" : "answer"} of ${text.length} characters instead of ${tokens * 4}`);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  clearTimeout(kill);
  if (killedAtMs === 0) {
    throw new Error(`the requests were over before the process was killed; failures: ${JSON.stringify(failures)}`);
  }
  return { complete, failed, failures, lies, killedAtMs };
}

/**
 * One request, sent again while nobody is there to take it, as SDKs do: when the connection is refused, and on 503. Resolves
 * with undefined when the connection broke under it.
 */
async function askPatiently(weir: Pick<Weir, "url" | "key">, body: object): Promise<Answer | undefined> {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    let answer: Answer | undefined;
    try {
      answer = await ask(weir, body);
      if (answer.status !== 503) return answer;
    } catch (error) {
      const cause = error instanceof Error ? error.cause : undefined;
      if (!(cause instanceof Error && "code" in cause && cause.code === "ECONNREFUSED")) return undefined;
    }
    if (performance.now() > deadline) return answer;
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
