import type { GenerateEvent, Warning } from "@weir/gen/weir/chat/v1/event_pb";
import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import type { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { WeirError } from "@weir/kit/weir-error";
import type { JsonObject } from "./json.ts";

/** How the frames of a stream stand in its bytes. */
export type Framing =
  /** Server-sent events. */
  | "sse"
  /** A JSON object for each line. */
  | "ndjson"
  /** AWS event stream: binary, with a checksum for each message. */
  | "aws-event-stream";

/**
 * One public wire format, both ways between its JSON and the canonical form. Pure: no clock, no network, no state
 * outside the readers and writers it creates. The edge uses it to speak with clients, the pool to speak with providers.
 */
export interface Codec {
  readonly dialect: Dialect;
  /** The folder's name, which is also the key of `GenerateRequest.extensions`: `anthropic-messages`. */
  readonly name: string;
  readonly framing: Framing;
  /**
   * Where a field of the canonical request stands in this dialect, for `param` of errors and warnings: `sampling.top_p` ->
   * `top_p`. A name that ends in `[]` says where each item of a list stands, in dialects that have the same items in the same order.
   */
  readonly params: Readonly<Record<string, string>>;

  // As the server: what clients send and get.

  /**
   * Reads what limits and routing need of a request, and checks no more of it: the rest is the provider's to judge.
   * @throws WeirError INVALID_REQUEST with `param`; never quotes the body
   */
  readEnvelope(body: JsonObject): Envelope;
  /**
   * Reads a whole request. What the canonical form has no field for, and no meaning depends on, goes to `extensions` under
   * this dialect's name.
   * @param body as `parseExact` gives it
   * @throws WeirError INVALID_REQUEST with `param` for what breaks the dialect's own rules; TARGET_UNSUPPORTED with `param` for
   *   what is well formed and cannot be held, so that a target of this dialect may still answer it. Never quotes the body
   */
  readRequest(body: JsonObject): GenerateRequest;
  /** Writes a whole answer: the JSON body. `events` end with `end`. */
  writeAnswer(events: readonly GenerateEvent[], options: AnswerOptions): string;
  /** Creates the writer of one streamed answer. */
  createFrameWriter(options: AnswerOptions): FrameWriter;
  /** Renders a failure as an answer of its own. */
  renderError(error: WeirError, requestId: string): RenderedError;
  /** Renders a failure as the last bytes of a stream that has begun; the connection is reset after it. */
  renderErrorEvent(error: WeirError, requestId: string): string;

  // As the client: what providers get and send.

  /**
   * Writes a request for a target of this dialect. What the dialect cannot express is never dropped in silence: a hint
   * that leaves the meaning (a seed, a cache key) is left out with a warning; anything else is refused.
   * @throws WeirError TARGET_UNSUPPORTED with `param`, a path of the canonical request
   */
  writeRequest(request: GenerateRequest, options: RequestOptions): RequestWriting;
  /** Reads the body of a whole answer; undefined when it is none. */
  readAnswer(body: JsonObject): AnswerReading | undefined;
  /** Creates the reader of one streamed answer. */
  createFrameReader(): FrameReader;
  /** The error that a body, or the data of a frame, reports; undefined when it reports none. */
  readError(body: JsonObject): ProviderError | undefined;
}

/** What limits and routing need of a request. */
export interface Envelope {
  /** The model name that the caller sent, 1 to 512 characters. Absent in dialects that have it in the path. */
  readonly model?: string;
  /** Whether the answer shall be a stream. Absent in dialects that have it in the path. */
  readonly stream?: boolean;
  /** Whether the caller wants to see the usage of its stream; true in dialects that always show it. */
  readonly includeUsage: boolean;
  /** Most output tokens over all choices. Absent: the model's own limit. */
  readonly maxOutputTokens?: number;
  /** How many choices to make: 1 to 128. */
  readonly choiceCount: number;
  /** The end user, at most 256 characters. */
  readonly user?: string;
  /** The service tier that it asks for by name: `flex` or `priority`. */
  readonly serviceTier?: string;
}

export interface RequestOptions {
  /** The target's model. */
  readonly model: string;
  readonly stream: boolean;
  /** Output limit for dialects that demand one, when the request has none. */
  readonly maxOutputTokensDefault: number;
}

export interface RequestWriting {
  /** For {@link writeJson}: may hold raw JSON. */
  readonly body: JsonObject;
  /** What was left out; `param` is a path of the canonical request. */
  readonly warnings: readonly Warning[];
  /** Headers that the body needs (`anthropic-beta`), lower-case names. */
  readonly headers?: Readonly<Record<string, string>>;
}

export interface AnswerOptions {
  /** Id for answers of vendors that gave none. */
  readonly id: string;
  /** For answers of vendors that gave no time: milliseconds since 1970. */
  readonly createTimeMs: number;
  /** The model to name when the vendor named none. */
  readonly model: string;
  readonly includeUsage: boolean;
  /** The client's own request, for dialects that echo parts of it. */
  readonly request: JsonObject;
}

/** One frame of a stream: a server-sent event, a line, or a message. */
export interface Frame {
  /** The event's type; empty where it has none. */
  readonly type: string;
  /** JSON text, or a dialect's own end mark (`[DONE]`). */
  readonly data: string;
}

/** Frames without a type that differ in the characters of one or two of their JSON texts. */
export interface TextShape {
  /** The choice and the part that the text belongs to. */
  readonly choice: number;
  readonly part: number;
  /** The data up to the text's first character, and what follows the text; a third: what follows another text, which nobody reads. */
  readonly pieces: readonly string[];
}

/** Writes one streamed answer. */
export interface FrameWriter {
  /** The frames for one event; `end` brings the dialect's end mark as the last one. */
  write(event: GenerateEvent): readonly Frame[];
  /**
   * What stands before and after the characters of a JSON text in the one frame that `write` gives for more text of a part, as long as
   * nothing else is written; that frame leaves the writer as it was. Absent, or undefined: that cannot be told.
   */
  textFrame?(
    choice: number,
    part: number,
  ): { readonly type: string; readonly around: readonly [string, string] } | undefined;
}

/** Reads one streamed answer, frame by frame. */
export interface FrameReader {
  /** Appends the events of one frame. After a fault or the end nothing comes any more. */
  read(type: string, data: string, out: GenerateEvent[]): void;
  /** The stream ended in order. Appends `end` where the dialect lets an answer be complete without an end mark. */
  finish(out: GenerateEvent[]): void;
  /**
   * What of a frame stays the same while pieces of one text come. When the last frame was read as `event` alone, each other frame of the
   * shape is read as an event that differs in its text, and leaves the reader as it was. Absent, or undefined: that cannot be told.
   */
  textShapeOf?(data: string, event: GenerateEvent): TextShape | undefined;
  /** Whether `end` was appended. */
  readonly complete: boolean;
  readonly fault: StreamFault | undefined;
  /** The last usage that was reported. */
  readonly usage: UsageReading | undefined;
}

/** Why a stream cannot go on. */
export type StreamFault =
  /** The provider reported an error inside the stream. */
  | { readonly kind: "error"; readonly error: ProviderError }
  /** What should be the dialect's JSON is not, or contradicts what came before. */
  | { readonly kind: "malformed" }
  /** A frame is longer than the limit. */
  | { readonly kind: "too-long" };

/** A whole answer. */
export interface AnswerReading {
  /** `start`, then what was said, then `end`. */
  readonly events: readonly GenerateEvent[];
  readonly usage: UsageReading | undefined;
}

/** Counts that a provider reported. */
export interface UsageReading {
  /** Counts that were not reported, or cannot be true, are absent. */
  readonly usage: Usage;
  /** Whether every count that was there could be taken as it stood, and the classes add up to the vendor's own total. */
  readonly sound: boolean;
  /** The provider says that it served the answer in its standard tier. Absent: it names another one, or none. */
  readonly standardTier?: true;
}

/** An error that a provider reported: words for programs, never its text. */
export interface ProviderError {
  /** Its code, as text; empty when it has none that is a word. */
  readonly code: string;
  /** Its type; empty when it has none that is a word. */
  readonly type: string;
  /** The HTTP status that the vendor documents for it, or that it names itself. Absent: unknown. */
  readonly status?: number;
  /** When it wants to be asked again, in milliseconds from now, where the body says so rather than a header. */
  readonly retryAfterMs?: number;
}

/** An error as clients of a dialect read it. */
export interface RenderedError {
  readonly status: number;
  /** Lower-case names; `content-type` is among them. */
  readonly headers: Record<string, string>;
  readonly body: string;
}
