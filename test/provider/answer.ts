import type { Script } from "./script.ts";

/** A chat request, as far as the simulator reads it. Everything may be absent or odd. */
export interface ChatBody {
  readonly model?: unknown;
  readonly messages?: unknown;
  readonly stream?: unknown;
  readonly stream_options?: { readonly include_usage?: unknown } | null;
  readonly tools?: unknown;
  readonly tool_choice?: unknown;
  readonly parallel_tool_calls?: unknown;
  readonly response_format?: { readonly type?: unknown; readonly json_schema?: { readonly schema?: unknown } } | null;
  readonly n?: unknown;
  readonly logprobs?: unknown;
  readonly max_tokens?: unknown;
  readonly max_completion_tokens?: unknown;
  readonly x_sim?: unknown;
}

export interface ToolCall {
  readonly id: string;
  readonly name: string;
  /** JSON text. */
  readonly arguments: string;
}

/** What the simulator will say; the same for the same request and script. */
export interface Reply {
  readonly model: string;
  /** Copies of the reply, from the request's `n`. */
  readonly choiceCount: number;
  readonly pieces: Pieces;
  readonly toolCalls: readonly ToolCall[];
  readonly finish: "stop" | "length" | "tool_calls";
  readonly logprobs: boolean;
  readonly inputTokens: number;
  /** All copies of the reply, and reasoning. */
  readonly outputTokens: number;
  readonly cachedTokens: number;
  readonly reasoningTokens: number;
}

/** A text as tokens. */
export interface Pieces {
  readonly count: number;
  at(index: number): string;
  /** Pieces from `start` up to, not with, `end`. */
  join(start: number, end: number): string;
}

/**
 * The simulator's tokens: four bytes of UTF-8 each, the last one what is left; a token that would end inside a
 * character goes on to its end.
 */
export function cutTokens(text: string): string[] {
  const tokens: string[] = [];
  let start = 0;
  let bytes = 0;
  for (let i = 0; i < text.length; ) {
    const point = text.codePointAt(i) as number;
    bytes += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    i += point < 0x10000 ? 1 : 2;
    if (bytes >= 4 || i === text.length) {
      tokens.push(text.slice(start, i));
      start = i;
      bytes = 0;
    }
  }
  return tokens;
}

/**
 * Input tokens of a request: for each message 3, and one for each four bytes of its text begun; the same for the JSON
 * text of the tools.
 */
export function countInputTokens(body: ChatBody): number {
  let tokens = 0;
  for (const message of asArray(body.messages)) tokens += 3 + Math.ceil(Buffer.byteLength(messageText(message)) / 4);
  if (Array.isArray(body.tools) && body.tools.length > 0) {
    tokens += 3 + Math.ceil(Buffer.byteLength(JSON.stringify(body.tools)) / 4);
  }
  return tokens;
}

/** Decides the reply to a request. */
export function decideReply(body: ChatBody, script: Script): Reply {
  const model = typeof body.model === "string" ? body.model : "unknown";
  const choiceCount = typeof body.n === "number" && body.n >= 1 ? Math.min(Math.floor(body.n), 128) : 1;
  const inputTokens = countInputTokens(body);
  const reasoningTokens = script.reasoningTokens ?? 0;
  const cachedTokens = Math.min(script.cachedTokens ?? 0, inputTokens);
  const common = {
    model,
    choiceCount,
    inputTokens,
    cachedTokens,
    reasoningTokens,
    logprobs: body.logprobs === true,
  };
  const toolCalls = decideToolCalls(body, script);
  if (toolCalls.length > 0) {
    let each = 0;
    for (const call of toolCalls) each += cutTokens(call.name).length + cutTokens(call.arguments).length;
    const outputTokens = each * choiceCount + reasoningTokens;
    return { ...common, pieces: noPieces, toolCalls, finish: "tool_calls", outputTokens };
  }
  const whole = decideText(body, script);
  const asked = body.max_completion_tokens ?? body.max_tokens;
  const limit = typeof asked === "number" && asked >= 0 ? Math.floor(asked) : Number.POSITIVE_INFINITY;
  const pieces = whole.count > limit ? cutPieces(whole, limit) : whole;
  const finish = whole.count > limit ? "length" : "stop";
  return { ...common, pieces, toolCalls, finish, outputTokens: pieces.count * choiceCount + reasoningTokens };
}

function decideText(body: ChatBody, script: Script): Pieces {
  if (script.text !== undefined) return listPieces(cutTokens(script.text));
  if (script.tokens !== undefined) return fillerPieces(script.tokens, script.stamp === true);
  const format = body.response_format;
  if (format?.type === "json_schema") {
    return listPieces(cutTokens(JSON.stringify(sampleOf(format.json_schema?.schema))));
  }
  const messages = asArray(body.messages);
  const words = countWords(messageText(messages[messages.length - 1]));
  if (format?.type === "json_object") return listPieces(cutTokens(JSON.stringify({ demo: true, words })));
  return demoPieces(words);
}

/** Words of a text: runs of characters that are not white space. */
export function countWords(text: string): number {
  return text.match(/\S+/g)?.length ?? 0;
}

// The last few texts are kept: cutting is most of the cost of a short answer.
let demoCache = new Map<number, Pieces>();

function demoPieces(words: number): Pieces {
  let pieces = demoCache.get(words);
  if (pieces === undefined) {
    if (demoCache.size >= 256) demoCache = new Map();
    const count = words === 1 ? "1 word" : `${words} words`;
    pieces = listPieces(
      cutTokens(
        `Hello! I am Weir's built-in demo model. I got ${count} from you, and this answer is metered like any other. ` +
          "Set a provider's key, such as OPENAI_API_KEY, and start Weir again to reach a real model.",
      ),
    );
    demoCache.set(words, pieces);
  }
  return pieces;
}

function decideToolCalls(body: ChatBody, script: Script): ToolCall[] {
  const functions = asArray(body.tools)
    .map((tool) => asObject(asObject(tool)?.["function"]))
    .filter((tool) => typeof tool?.["name"] === "string") as { name: string; parameters?: unknown }[];
  if (functions.length === 0 || body.tool_choice === "none") return [];
  let called: typeof functions = [];
  const messages = asArray(body.messages);
  const last = asObject(messages[messages.length - 1]);
  const named = asObject(asObject(body.tool_choice)?.["function"])?.["name"];
  if (script.toolCalls !== undefined) {
    called = Array.from({ length: script.toolCalls }, (_, i) => functions[i % functions.length] as { name: string });
  } else if (named !== undefined) {
    called = functions.filter((tool) => tool.name === named);
  } else if (last?.["role"] === "user") {
    const text = messageText(last);
    called = functions.filter((tool) => text.includes(tool.name));
    if (called.length === 0 && body.tool_choice === "required") called = functions.slice(0, 1);
    if (body.parallel_tool_calls === false) called = called.slice(0, 1);
  }
  return called.map((tool, index) => ({
    id: `call_sim_${index}`,
    name: tool.name,
    arguments: JSON.stringify(sampleOf(tool.parameters)),
  }));
}

/** A value that fits a JSON schema: the first choice everywhere, all properties present. Knows local references. */
export function sampleOf(schema: unknown): unknown {
  return sampleAt(schema, schema, 0);
}

function sampleAt(schema: unknown, root: unknown, depth: number): unknown {
  const node = asObject(schema);
  if (node === undefined || depth > 16) return null;
  const next = (inner: unknown) => sampleAt(inner, root, depth + 1);
  if ("const" in node) return node["const"];
  if (Array.isArray(node["enum"])) return node["enum"][0] ?? null;
  if (typeof node["$ref"] === "string") return next(resolveRef(root, node["$ref"]));
  for (const word of ["anyOf", "oneOf", "allOf"]) if (Array.isArray(node[word])) return next(node[word][0]);
  const type = Array.isArray(node["type"]) ? node["type"][0] : node["type"];
  switch (type) {
    case "string":
      return "weir";
    case "integer":
    case "number":
      return typeof node["minimum"] === "number" ? node["minimum"] : 1;
    case "boolean":
      return true;
    case "array":
      return [next(node["items"])];
    case "object":
    case undefined: {
      const properties = asObject(node["properties"]) ?? {};
      return Object.fromEntries(Object.entries(properties).map(([name, inner]) => [name, next(inner)]));
    }
    default:
      return null;
  }
}

function resolveRef(root: unknown, ref: string): unknown {
  if (!ref.startsWith("#")) return undefined;
  let at: unknown = root;
  for (const part of ref.split("/").slice(1)) {
    const object = asObject(at);
    at = object !== undefined && Object.hasOwn(object, part) ? object[part] : undefined;
  }
  return at;
}

/** The text of a message: its content, or the text parts of it, joined. */
function messageText(message: unknown): string {
  const content = asObject(message)?.["content"];
  if (typeof content === "string") return content;
  let text = "";
  for (const part of asArray(content)) {
    const piece = asObject(part)?.["text"];
    if (typeof piece === "string") text += piece;
  }
  return text;
}

function asArray(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function asObject(value: unknown): Record<string, unknown> | undefined {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
}

function listPieces(list: readonly string[]): Pieces {
  const text = list.join("");
  return {
    count: list.length,
    at: (index) => list[index] ?? "",
    join: (start, end) => (start === 0 && end >= list.length ? text : list.slice(start, end).join("")),
  };
}

const noPieces = listPieces([]);
const fillerText = "the water of the river goes over the weir and is measured as it falls, again and then on; ";
const filler = cutTokens(fillerText.slice(0, fillerText.length - (fillerText.length % 4)));

/** Where a chunk is stamped when it is written. */
export const stampPlace = "@stamp@";

function fillerPieces(count: number, stamped: boolean): Pieces {
  const at = (index: number) => filler[index % filler.length] as string;
  return {
    count,
    at: stamped ? () => stampPlace : at,
    join(start, end) {
      let text = stamped ? stampPlace : "";
      for (let i = start; i < Math.min(end, count); i++) text += at(i);
      return text;
    },
  };
}

function cutPieces(pieces: Pieces, count: number): Pieces {
  return { count, at: pieces.at, join: (start, end) => pieces.join(start, Math.min(end, count)) };
}
