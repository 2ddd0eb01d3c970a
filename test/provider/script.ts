/**
 * What the simulator does with one request. Every member is optional; without any, it answers at once and well.
 *
 * A script reaches the simulator in four ways; where several apply, later ones of this list win member by member:
 * the seeded storm, the queue (`simulator.script` or `POST /sim/scripts`), headers (`x-sim-gap-ms: 20`), and the body's
 * member `x_sim` (`{"gapMs": 20}`), which is the one that passes through gateways.
 */
export interface Script {
  /** Answer with this HTTP status, 400 to 599, and an error body of OpenAI's shape. */
  readonly status?: number;
  /** On an error: value of `retry-after`, in seconds or as an HTTP date. */
  readonly retryAfter?: string;
  /** On an error: value of `retry-after-ms`. */
  readonly retryAfterMs?: number;
  /** On an error: text of the message. */
  readonly errorMessage?: string;
  /** On an error: `code` of the error. Default: what OpenAI sends with that status. */
  readonly errorCode?: string;

  /** The reply's text. */
  readonly text?: string;
  /** Length of the reply in tokens, of filler text. At most 50 million. */
  readonly tokens?: number;
  /** Answer with this many tool calls, if the request has tools. */
  readonly toolCalls?: number;
  /** Say that so many input tokens came from the cache. */
  readonly cachedTokens?: number;
  /** Add so many reasoning tokens, which are billed as output and not shown. */
  readonly reasoningTokens?: number;

  /** Wait before the status line, in milliseconds. */
  readonly headMs?: number;
  /** Wait between the head (and the role chunk) and the first content, in milliseconds. Streams only. */
  readonly firstTokenMs?: number;
  /** Wait between writes, in milliseconds; 0: a turn of the event loop. Default: writes are joined. */
  readonly gapMs?: number;
  /** Tokens in one chunk of a stream. Default 1. */
  readonly chunkTokens?: number;
  /** Let each chunk begin with the moment it is written, `@<milliseconds of the machine's monotonic clock>@`. */
  readonly stamp?: boolean;
  /** Cut the body into writes of so many bytes, wherever that falls. */
  readonly sliceBytes?: number;

  /** What goes wrong. */
  readonly fault?: Fault;
  /** Content chunks (of a JSON body: bytes) before a fault of the stream. Default 3. */
  readonly after?: number;
  /** Bytes of the line of fault `long-line`. Default 10 MiB. */
  readonly lineBytes?: number;
  /** Oddities of the stream's framing, separated by commas. */
  readonly sse?: string;
  /** What a stream says of its usage; JSON answers know `none` and `null`. Default `asked`. */
  readonly usage?: UsageManner;
  /** Value of `content-type`. */
  readonly contentType?: string;

  /** What is billed. Default `produced`. */
  readonly billing?: Billing;
  /** Whether work and billing stop when the client leaves. Default true. */
  readonly stopOnAbort?: boolean;

  /** Scripts for single models, laid over this one: lets one request meet several targets differently. */
  readonly models?: Readonly<Record<string, Script>>;
}

export const faults = [
  // Instead of an answer.
  "hang", // reads the request and never answers
  "reset", // resets the connection (RST)
  "close", // closes the connection in order (FIN)
  "garbage", // bytes that are not HTTP
  // Instead of the right body, with status 200.
  "html", // a page
  "empty", // nothing
  "error-body", // an error object: the in-band 429
  "bad-json", // JSON that breaks off; in a stream, one such frame after `after` chunks
  "length-long", // content-length promises more than comes
  "length-short", // content-length promises less than comes
  // In the stream (or the JSON body), after `after` chunks (bytes).
  "stall", // silence for ever
  "half-open", // silence for ever, and the connection stays when the client closes it
  "reset-stream", // RST
  "cut-stream", // FIN in the middle of the body's framing
  "end-stream", // the body ends in order; finish, usage and [DONE] are missing
  "error-frame", // an error object as data, then the end; `after: 0` makes it the first frame
  "error-event", // the same under `event: error`
  "long-line", // one line of `lineBytes` bytes
  "no-done", // all is there but [DONE]
] as const;
export type Fault = (typeof faults)[number];

export const usageManners = [
  "asked", // in a last chunk with empty choices, when include_usage asks for it
  "always", // the same, asked or not
  "none", // never
  "null", // the last chunk says `usage: null`
  "with-choices", // in a last chunk whose choices are not empty
  "doubled", // in two last chunks; the first counts one token of output only
  "every-chunk", // in each chunk, counting up
] as const;
export type UsageManner = (typeof usageManners)[number];

export const billings = [
  // Input tokens from the first chunk on, and output tokens as far as they were written; errors are free.
  "produced",
  // All tokens once the answer has begun, even when it broke off or the client left; errors are free.
  "full",
  // All tokens when the request has arrived, whatever comes then.
  "on-send",
] as const;
export type Billing = (typeof billings)[number];

export const sseOddities = [
  "crlf", // lines end in CR LF
  "cr", // lines end in CR
  "mixed-ends", // LF, CR LF and CR by turns
  "bom", // a byte order mark first
  "comments", // comment lines between events
  "no-final-blank", // the last event lacks its blank line
  "no-space", // `data:{` without the space
  "two-data-lines", // JSON spread over two data lines of one event
  "unknown-events", // events of names that nobody knows, and unknown fields
  "id-null", // `id` of the reply is null
  "no-role", // no chunk says the role
] as const;
export type SseOddity = (typeof sseOddities)[number];

type Kind = "text" | "integer" | "number" | "boolean" | readonly string[];
type Member = Exclude<keyof Script, "models">;

const members: Readonly<Record<Member, Kind>> = {
  status: "integer",
  retryAfter: "text",
  retryAfterMs: "integer",
  errorMessage: "text",
  errorCode: "text",
  text: "text",
  tokens: "integer",
  toolCalls: "integer",
  cachedTokens: "integer",
  reasoningTokens: "integer",
  headMs: "number",
  firstTokenMs: "number",
  gapMs: "number",
  chunkTokens: "integer",
  stamp: "boolean",
  sliceBytes: "integer",
  fault: faults,
  after: "integer",
  lineBytes: "integer",
  sse: "text",
  usage: usageManners,
  contentType: "text",
  billing: billings,
  stopOnAbort: "boolean",
};

/** A script that makes no sense. The text says which member and why. */
export class ScriptError extends Error {
  override readonly name = "ScriptError";
}

/** Checks a script that came from outside. @throws ScriptError */
export function readScript(value: unknown): Script {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ScriptError("a script is an object");
  }
  const script: Record<string, unknown> = {};
  for (const [name, given] of Object.entries(value)) {
    if (name === "models") script["models"] = readModels(given);
    else if (Object.hasOwn(members, name)) script[name] = readMember(name as Member, given);
    else throw new ScriptError(`no member ${name}`);
  }
  return script;
}

function readModels(value: unknown): Record<string, Script> {
  if (typeof value !== "object" || value === null) throw new ScriptError("models is an object");
  return Object.fromEntries(Object.entries(value).map(([model, script]) => [model, readScript(script)]));
}

function readMember(name: Member, value: unknown): unknown {
  const kind = members[name];
  if (name === "sse") return readOddities(value);
  if (typeof kind === "object") {
    if (kind.includes(String(value))) return value;
    throw new ScriptError(`${name} is one of ${kind.join(", ")}`);
  }
  if (kind === "text" && typeof value === "string") return value;
  if (kind === "boolean" && typeof value === "boolean") return value;
  if ((kind === "integer" || kind === "number") && typeof value === "number") {
    if (value >= 0 && value <= 1e9 && (kind === "number" || Number.isInteger(value))) {
      if (name === "status" && (value < 400 || value > 599)) throw new ScriptError("status is 400 to 599");
      if (name === "tokens" && value > 50e6) throw new ScriptError("tokens is at most 50000000");
      if ((name === "chunkTokens" || name === "sliceBytes") && value === 0) throw new ScriptError(`${name} is not 0`);
      return value;
    }
  }
  throw new ScriptError(`${name} is ${kind === "text" ? "a text" : `a ${kind}, 0 to 1e9`}`);
}

function readOddities(value: unknown): string {
  const names = String(value).split(",");
  const stranger = names.find((name) => !(sseOddities as readonly string[]).includes(name));
  if (stranger !== undefined) throw new ScriptError(`sse is a list of ${sseOddities.join(", ")}`);
  return names.join(",");
}

const memberByHeader: ReadonlyMap<string, Member> = new Map(
  (Object.keys(members) as Member[]).map((name) => [
    `x-sim-${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`,
    name,
  ]),
);

/** The script in a request's headers; undefined when there is none. @throws ScriptError */
export function scriptFromHeaders(rawHeaders: readonly string[]): Script | undefined {
  let script: Record<string, unknown> | undefined;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const header = (rawHeaders[i] as string).toLowerCase();
    if (!header.startsWith("x-sim-")) continue;
    const name = memberByHeader.get(header);
    if (name === undefined) throw new ScriptError(`no header ${header}`);
    const text = rawHeaders[i + 1] as string;
    const kind = members[name];
    script ??= {};
    if (kind === "integer" || kind === "number") script[name] = readMember(name, Number(text));
    else script[name] = readMember(name, kind === "boolean" ? text === "true" : text);
  }
  return script;
}

/** Faults that the seeded storm draws from: those after which a right gateway still gives a right answer or an error. */
const stormScripts: readonly Script[] = [
  { status: 429, retryAfter: "1" },
  { status: 500 },
  { status: 503 },
  { status: 529 },
  { fault: "reset" },
  { fault: "close" },
  { fault: "reset-stream" },
  { fault: "cut-stream" },
  { fault: "end-stream" },
  { fault: "error-frame" },
  { fault: "bad-json" },
  { sse: "crlf" },
  { sse: "comments,bom" },
  { usage: "with-choices" },
  { sliceBytes: 7, gapMs: 0 },
];

/**
 * A storm: for each request in turn, a script by chance. The same seed gives the same sequence.
 * @param percent share of requests that get a script, 0 to 100
 */
export function createStorm(seed: number, percent: number): () => Script | undefined {
  const random = createRandom(seed);
  return () => {
    const hit = random() * 100 < percent;
    const draw = Math.floor(random() * stormScripts.length);
    return hit ? stormScripts[draw] : undefined;
  };
}

/** Numbers in [0, 1) that a seed determines (mulberry32). */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
