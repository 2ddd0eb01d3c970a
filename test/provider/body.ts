import type { Reply } from "./answer.ts";
import type { Script, SseOddity } from "./script.ts";

/** What stands in every chunk of one reply. */
export interface ReplyHead {
  readonly id: string | null;
  /** Seconds since 1970. */
  readonly created: number;
}

/** A part of a stream's body. */
export interface Frame {
  readonly text: string;
  /** Output tokens that have been produced when this frame has been written. */
  readonly tokens: number;
  /** Whether it carries content, and not only role, finish or usage. */
  readonly content: boolean;
}

/** The body of an answer that is not streamed. */
export function replyJson(reply: Reply, head: ReplyHead, script: Script): string {
  const message =
    reply.toolCalls.length > 0
      ? `{"role":"assistant","content":null,"tool_calls":${JSON.stringify(toolCallObjects(reply))},"refusal":null}`
      : `{"role":"assistant","content":${JSON.stringify(reply.pieces.join(0, reply.pieces.count))},"refusal":null}`;
  const logprobs = reply.logprobs ? logprobsJson(reply, 0, reply.pieces.count) : "null";
  let choices = "";
  for (let index = 0; index < reply.choiceCount; index++) {
    if (index > 0) choices += ",";
    choices += `{"index":${index},"message":${message},"logprobs":${logprobs},"finish_reason":"${reply.finish}"}`;
  }
  const usage = script.usage === "none" ? "" : `,"usage":${script.usage === "null" ? "null" : usageJson(reply)}`;
  return `{"id":${JSON.stringify(head.id)},"object":"chat.completion","created":${head.created},"model":${JSON.stringify(
    reply.model,
  )},"choices":[${choices}]${usage},"service_tier":"default","system_fingerprint":"fp_sim"}`;
}

/** OpenAI's `usage` object. */
export function usageJson(reply: Reply, outputTokens = reply.outputTokens): string {
  return (
    `{"prompt_tokens":${reply.inputTokens},"completion_tokens":${outputTokens},` +
    `"total_tokens":${reply.inputTokens + outputTokens},` +
    `"prompt_tokens_details":{"cached_tokens":${reply.cachedTokens},"audio_tokens":0},` +
    `"completion_tokens_details":{"reasoning_tokens":${Math.min(reply.reasoningTokens, outputTokens)},"audio_tokens":0,` +
    `"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}`
  );
}

/** The frames of a stream, `[DONE]` included, before its oddities of framing. */
export function* replyFrames(
  reply: Reply,
  head: ReplyHead,
  script: Script,
  includeUsage: boolean,
): Generator<Frame, void, undefined> {
  const manner = script.usage ?? "asked";
  const showsUsage =
    (manner === "asked" && includeUsage) || ["always", "with-choices", "doubled", "null"].includes(manner);
  const start = `data: {"id":${JSON.stringify(head.id)},"object":"chat.completion.chunk","created":${
    head.created
  },"model":${JSON.stringify(reply.model)},"service_tier":"default","system_fingerprint":"fp_sim","choices":`;
  let tokens = reply.reasoningTokens;
  const end = () => {
    if (manner === "every-chunk") return `,"usage":${usageJson(reply, tokens)}}\n\n`;
    return includeUsage && manner !== "none" ? `,"usage":null}\n\n` : "}\n\n";
  };
  const choice = (index: number, delta: string, finish: string | null, logprobs = "null") =>
    `${start}[{"index":${index},"delta":${delta},"logprobs":${logprobs},"finish_reason":${
      finish === null ? "null" : `"${finish}"`
    }}]${end()}`;

  const withRole = !(script.sse ?? "").split(",").includes("no-role");
  for (let index = 0; withRole && index < reply.choiceCount; index++) {
    const content = reply.toolCalls.length > 0 ? "null" : `""`;
    yield {
      text: choice(index, `{"role":"assistant","content":${content},"refusal":null}`, null),
      tokens,
      content: false,
    };
  }
  const step = script.chunkTokens ?? 1;
  for (let at = 0; at < reply.pieces.count; at += step) {
    const until = Math.min(at + step, reply.pieces.count);
    const delta = `{"content":${JSON.stringify(reply.pieces.join(at, until))}}`;
    const logprobs = reply.logprobs ? logprobsJson(reply, at, until) : "null";
    for (let index = 0; index < reply.choiceCount; index++) {
      tokens += until - at;
      yield { text: choice(index, delta, null, logprobs), tokens, content: true };
    }
  }
  for (let index = 0; index < reply.choiceCount && reply.toolCalls.length > 0; index++) {
    for (const piece of toolDeltas(reply)) {
      tokens += piece.tokens;
      yield { text: choice(index, `{"tool_calls":[${piece.json}]}`, null), tokens, content: true };
    }
  }
  tokens = reply.outputTokens;
  for (let index = 0; index < reply.choiceCount; index++) {
    yield { text: choice(index, "{}", reply.finish), tokens, content: false };
  }
  if (showsUsage) {
    const usage = manner === "null" ? "null" : usageJson(reply);
    const choices = manner === "with-choices" ? `[{"index":0,"delta":{},"logprobs":null,"finish_reason":null}]` : "[]";
    if (manner === "doubled") {
      yield {
        text: `${start}[],"usage":${usageJson(reply, Math.min(1, reply.outputTokens))}}\n\n`,
        tokens,
        content: false,
      };
    }
    yield { text: `${start}${choices},"usage":${usage}}\n\n`, tokens, content: false };
  }
  if (script.fault !== "no-done") yield { text: "data: [DONE]\n\n", tokens, content: false };
}

function toolCallObjects(reply: Reply): unknown[] {
  return reply.toolCalls.map(({ id, name, arguments: text }) => ({
    id,
    type: "function",
    function: { name, arguments: text },
  }));
}

/** The id and name of each call first, then its arguments in pieces of 16 bytes. */
function* toolDeltas(reply: Reply): Generator<{ json: string; tokens: number }, void, undefined> {
  for (const [index, call] of reply.toolCalls.entries()) {
    const { id, name } = call;
    const opening = { index, id, type: "function", function: { name, arguments: "" } };
    yield { json: JSON.stringify(opening), tokens: Math.ceil(Buffer.byteLength(name) / 4) };
    for (let at = 0; at < call.arguments.length; at += 16) {
      const text = call.arguments.slice(at, at + 16);
      yield {
        json: JSON.stringify({ index, function: { arguments: text } }),
        tokens: Math.ceil(text.length / 4),
      };
    }
  }
}

function logprobsJson(reply: Reply, start: number, end: number): string {
  const content: unknown[] = [];
  for (let i = start; i < end; i++) {
    const token = reply.pieces.at(i);
    content.push({ token, logprob: -0.25, bytes: [...Buffer.from(token)], top_logprobs: [] });
  }
  return JSON.stringify({ content, refusal: null });
}

/** Rewrites the frames of a stream by the oddities of framing that a script names. */
export function* oddFrames(frames: Iterable<Frame>, script: Script): Generator<Frame, void, undefined> {
  const odd = new Set((script.sse ?? "").split(",")) as Set<SseOddity>;
  let count = 0;
  let held: Frame | undefined;
  for (const frame of frames) {
    if (held !== undefined) yield { ...held, text: oddText(held.text, odd, count++) };
    held = frame;
  }
  if (held === undefined) return;
  const text = oddText(held.text, odd, count);
  yield { ...held, text: odd.has("no-final-blank") ? text.replace(/(\r\n|\r|\n)(\r\n|\r|\n)$/, "$1") : text };
}

function oddText(text: string, odd: ReadonlySet<SseOddity>, count: number): string {
  let result = text;
  if (odd.has("no-space")) result = result.replace(/^data: /, "data:");
  if (odd.has("two-data-lines") && text.startsWith("data: {"))
    result = result.replace(/,"object":/, `,\ndata: "object":`);
  if (odd.has("unknown-events") && count % 2 === 0) {
    result = `event: weather\ndata: {"rain":true}\n\nretry: 3000\nfoo: bar\nid: ${count}\n${result}`;
  }
  if (odd.has("comments")) result = `: sign of life ${count}\n\n:\n${result}`;
  if (odd.has("crlf")) result = result.replaceAll("\n", "\r\n");
  else if (odd.has("cr")) result = result.replaceAll("\n", "\r");
  else if (odd.has("mixed-ends")) result = mixEnds(result, count);
  if (odd.has("bom") && count === 0) result = `\ufeff${result}`;
  return result;
}

// A CR before an LF would read as one line end, so blank lines are made of pairs that cannot be misread.
const blankLines = ["\n\r\n", "\r\n\r", "\r\r\n", "\r\r", "\n\n"];
const lineEnds = ["\r\n", "\r", "\n"];

function mixEnds(text: string, count: number): string {
  let turn = count;
  return text.replaceAll(/\n\n?/g, (end) => {
    const ends = end.length === 2 ? blankLines : lineEnds;
    return ends[turn++ % ends.length] as string;
  });
}
