import { createConnection, postBytes } from "./http-client.ts";

/** What the load generator is asked to do; the JSON text of one goes in argv. */
export type LoadPlan = {
  readonly url: string;
  readonly key: string;
  readonly model: string;
  /** The client's dialect. Default: OpenAI's chat completions, which the upstream speaks. */
  readonly dialect?: "openai" | "anthropic";
} & (
  | {
      readonly kind: "chats";
      readonly perSecond: number;
      readonly seconds: number;
      readonly promptBytes: number;
      readonly bigPerSecond: number;
    }
  | { readonly kind: "streams"; readonly streams: number; readonly chunks: number; readonly gapMs: number }
);

/** What it saw; times in milliseconds. */
export interface LoadResult {
  readonly requests: number;
  readonly failures: number;
  readonly failure: string | undefined;
  readonly chunks: number;
  readonly seconds: number;
  readonly latencyMs: Percentiles;
  /** To the first byte of the body; for streams, to the first content. */
  readonly firstByteMs: Percentiles;
  /** From the upstream's stamp in a chunk to its arrival here. */
  readonly chunkDelayMs: Percentiles;
}

/** Percentiles of a list of numbers; NaN when it is empty. */
export interface Percentiles {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
}

/** Sorts in place. */
export function percentiles(values: number[]): Percentiles {
  values.sort((a, b) => a - b);
  const at = (share: number) => values[Math.min(values.length - 1, Math.floor(values.length * share))] ?? Number.NaN;
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99) };
}

/** Of a stream in a dialect that is translated: the script of the upstream does not travel in such a body. */
export const pacedChunks = 80;
export const pacedGapMs = 50;

/** How a dialect asks, and how its stream begins a piece of text and ends. */
const dialects = {
  openai: { path: "/v1/chat/completions", fields: {}, mark: '"content":"@', end: "data: [DONE]" },
  anthropic: { path: "/v1/messages", fields: { max_tokens: 4096 }, mark: '"text":"@', end: "event: message_stop" },
} as const;

const chatPrompt = "Say hello to the people who measure you, in one short sentence. ";

/** Chats at a fixed rate, started on time whether or not earlier ones have ended; a few big prompts may run beside them. */
async function chats(plan: LoadPlan & { kind: "chats" }): Promise<LoadResult> {
  const url = new URL(plan.url);
  const prompt = chatPrompt.repeat(Math.max(1, Math.round(plan.promptBytes / chatPrompt.length)));
  const { path, fields } = dialects[plan.dialect ?? "openai"];
  const bytes = postBytes(url, path, plan.key, {
    model: plan.model,
    ...fields,
    messages: [{ role: "user", content: prompt }],
  });
  const big = postBytes(url, path, plan.key, {
    model: plan.model,
    ...fields,
    messages: [{ role: "user", content: chatPrompt.repeat(Math.ceil(400_000 / chatPrompt.length)) }],
  });
  const free: ReturnType<typeof createConnection>[] = [];
  const all: typeof free = [];
  const latency: number[] = [];
  const firstByte: number[] = [];
  let failures = 0;
  let failure: string | undefined;
  const open = new Set<Promise<void>>();

  const send = (request: Buffer, counted: boolean) => {
    let connection = free.pop();
    if (connection === undefined) {
      if (all.length >= 512) {
        failures += 1;
        failure ??= "512 connections are busy: the candidate does not keep up";
        return;
      }
      connection = createConnection(url.hostname, Number(url.port));
      all.push(connection);
    }
    const used = connection;
    const call = used
      .request(request)
      .then((answer) => {
        if (answer.status !== 200) throw new Error(`status ${answer.status}`);
        if (counted) {
          latency.push(answer.totalMs);
          firstByte.push(answer.firstByteMs);
        }
      })
      .catch((error: unknown) => {
        failures += 1;
        failure ??= String(error);
      })
      .finally(() => {
        free.push(used);
        open.delete(call);
      });
    open.add(call);
  };

  const start = performance.now();
  const total = plan.perSecond * plan.seconds;
  let sent = 0;
  let sentBig = 0;
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      const elapsed = (performance.now() - start) / 1000;
      const due = Math.min(total, Math.floor(elapsed * plan.perSecond));
      while (sent < due) {
        sent += 1;
        send(bytes, true);
      }
      while (sentBig < Math.floor(elapsed * plan.bigPerSecond)) {
        sentBig += 1;
        send(big, false);
      }
      if (sent >= total) {
        clearInterval(timer);
        resolve();
      }
    }, 1);
  });
  await Promise.all(open);
  for (const connection of all) connection.close();
  return {
    requests: latency.length,
    failures,
    failure,
    chunks: 0,
    seconds: (performance.now() - start) / 1000,
    latencyMs: percentiles(latency),
    firstByteMs: percentiles(firstByte),
    chunkDelayMs: percentiles([]),
  };
}

/** About 200 bytes in a chunk, its JSON included. */
export const chunkTokens = 8;

/** Many streams at once; each chunk carries the upstream's clock, which is this machine's monotonic one. */
async function streams(plan: LoadPlan & { kind: "streams" }): Promise<LoadResult> {
  const url = new URL(plan.url);
  const { path, fields, mark, end } = dialects[plan.dialect ?? "openai"];
  const stampMark = Buffer.from(mark);
  const bytes = postBytes(url, path, plan.key, {
    model: plan.model,
    ...fields,
    stream: true,
    messages: [{ role: "user", content: chatPrompt }],
    x_sim:
      plan.dialect === "anthropic"
        ? undefined
        : { tokens: plan.chunks * chunkTokens, chunkTokens, gapMs: plan.gapMs, stamp: true },
  });
  const firstByte: number[] = [];
  const latency: number[] = [];
  const delays: number[] = [];
  let chunks = 0;
  let failures = 0;
  let failure: string | undefined;
  const start = performance.now();
  const one = async () => {
    const connection = createConnection(url.hostname, Number(url.port));
    let ended = false;
    let firstContentMs = Number.NaN;
    const startMs = performance.now();
    try {
      const answer = await connection.request(bytes, (body) => {
        const now = Number(process.hrtime.bigint() / 1000n) / 1000;
        let at = body.indexOf(stampMark);
        if (at >= 0 && Number.isNaN(firstContentMs)) firstContentMs = performance.now() - startMs;
        while (at >= 0) {
          chunks += 1;
          const from = at + stampMark.length;
          const stop = body.indexOf(0x40, from);
          if (stop > from && delays.length < 200_000) delays.push(now - Number(body.toString("latin1", from, stop)));
          at = body.indexOf(stampMark, from);
        }
        if (body.includes(end)) ended = true;
      });
      if (answer.status !== 200) throw new Error(`status ${answer.status}`);
      if (!ended) throw new Error("a stream ended without its end");
      firstByte.push(firstContentMs);
      latency.push(answer.totalMs);
    } catch (error) {
      failures += 1;
      failure ??= String(error);
    } finally {
      connection.close();
    }
  };
  await Promise.all(
    Array.from({ length: plan.streams }, async (_, index) => {
      await new Promise((resolve) => setTimeout(resolve, (index * plan.gapMs) / plan.streams));
      await one();
    }),
  );
  return {
    requests: latency.length,
    failures,
    failure,
    chunks,
    seconds: (performance.now() - start) / 1000,
    latencyMs: percentiles(latency),
    firstByteMs: percentiles(firstByte),
    chunkDelayMs: percentiles(delays),
  };
}

if (process.argv[1] === import.meta.filename) {
  const plan = JSON.parse(process.argv[2] ?? "{}") as LoadPlan;
  const result = plan.kind === "chats" ? await chats(plan) : await streams(plan);
  console.log(JSON.stringify(result));
}
