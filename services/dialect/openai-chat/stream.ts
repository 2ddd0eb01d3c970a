import type { StreamFault, UsageReading } from "../codec.ts";
import { isObject, type JsonObject, parseObject } from "../json.ts";
import { readProviderError } from "../openai/provider-error.ts";
import { readUsage } from "../openai/usage.ts";
import { readEvent, type SseEvent } from "../sse/event.ts";
import { createEventSplitter } from "../sse/splitter.ts";
import { readChunk, readReplyId } from "./chunk.ts";
import { createOutputCount } from "./output-count.ts";

/** What is known of a stream so far. */
export interface StreamFacts {
  /** Whether content has come: text, reasoning, a refusal, sound, a tool call or the end of a choice. */
  readonly content: boolean;
  /**
   * Whether the answer is whole: `[DONE]` has come, or the stream ended after every choice that it spoke of had ended.
   */
  readonly complete: boolean;
  /** Once set, nothing more is forwarded; the event at fault is not either. */
  readonly fault: StreamFault | undefined;
  /** The last usage that was reported. */
  readonly usage: UsageReading | undefined;
  /** The provider's id of the reply; empty while there is none. */
  readonly replyId: string;
}

/** Reads a streamed answer beside its way to the client. */
export interface ChatStreamReader {
  /**
   * Takes the next bytes and returns what the client shall get now: whole events, byte for byte, without the one that
   * only reports usage when the client did not ask for it. Undefined when there is nothing yet.
   */
  push(bytes: Buffer): Buffer | undefined;
  /**
   * The stream has ended in order. Returns the last of what the client shall get: an event that lacked its blank line, with
   * one, and `[DONE]` where the provider sent none.
   */
  end(): Buffer | undefined;
  /** One object that changes as the stream goes on. */
  readonly facts: StreamFacts;
  /** Events with content so far. */
  contentEvents(): number;
  /**
   * A guess at the output tokens that came: a token for each event with content of up to 12 bytes, else one for each four
   * bytes. One event in sixteen is looked into; the others count as their mean.
   */
  outputTokens(): number;
}

export interface ChatStreamOptions {
  /** Whether the client asked for `stream_options.include_usage`. */
  readonly includeUsage: boolean;
  /** Longest event in bytes. Default 8 MiB: some providers send whole images in one. */
  readonly eventBytesMax?: number;
}

/** The end of a stream of OpenAI's dialect. */
export const doneEvent: Buffer = Buffer.from("data: [DONE]\n\n");

const eventBytesMaxDefault = 8 * 1024 * 1024;

// What no plain piece of content has: an end, an error, usage or a finish reason other than null, a choice other than the
// first, no choice at all. An event without them is not looked into once content has begun. Quotes inside a text are escaped, so that
// hardly any text matches; one that does costs a parse and no more.
const notable = /error|\[DONE\]|(?:usage|_reason)"\s*:\s*[^\sn]|"(?:index"\s*:\s*[^\s0]|choices"\s*:\s*\[\s*\])/;

/** What becomes of an event. */
type Verdict = "forward" | "strip" | "done" | "fault";

/** Creates the reader of one stream. */
export function createChatStreamReader(options: ChatStreamOptions): ChatStreamReader {
  const { includeUsage, eventBytesMax = eventBytesMaxDefault } = options;
  const splitter = createEventSplitter();
  const output = createOutputCount();
  const choices = new Set<number>();
  const finishedChoices = new Set<number>();
  let started = false;
  let beginning: Buffer | undefined;
  const facts: { -readonly [K in keyof StreamFacts]: StreamFacts[K] } = {
    content: false,
    complete: false,
    fault: undefined,
    usage: undefined,
    replyId: "",
  };

  function push(bytes: Buffer): Buffer | undefined {
    if (facts.fault !== undefined || facts.complete) return undefined;
    const rest = started ? bytes : unmarked(bytes);
    if (rest === undefined) return undefined;
    const events = splitter.push(rest);
    const forward = events && read(events);
    if (splitter.keptBytes() > eventBytesMax && !facts.complete) facts.fault ??= { kind: "too-long" };
    return forward;
  }

  function end(): Buffer | undefined {
    if (facts.fault !== undefined || facts.complete) return undefined;
    const left = splitter.end();
    let last: Buffer | undefined;
    if (left !== undefined) {
      const { data = "" } = readEvent(left.toString("latin1"), 0);
      if (endsBlank(left)) last = read(left);
      else if (isDone(data) || parseObject(data) !== undefined)
        last = read(Buffer.concat([left, left.at(-1) === 0x0a ? lineFeed : blankLine]));
      else if (data.trim() !== "") return undefined; // cut off in mid-event
      if (facts.fault !== undefined || facts.complete) return last;
    }
    facts.complete = finishedChoices.size > 0 && [...choices].every((choice) => finishedChoices.has(choice));
    if (!facts.complete) return last;
    return last === undefined ? doneEvent : Buffer.concat([last, doneEvent]);
  }

  /** Takes a byte order mark off the beginning of the stream; undefined while it is not clear whether there is one. */
  function unmarked(bytes: Buffer): Buffer | undefined {
    const head = beginning === undefined ? bytes : Buffer.concat([beginning, bytes]);
    if (head.length < byteOrderMark.length && byteOrderMark.indexOf(head) === 0) {
      beginning = head;
      return undefined;
    }
    started = true;
    beginning = undefined;
    return head.subarray(0, byteOrderMark.length).equals(byteOrderMark) ? head.subarray(byteOrderMark.length) : head;
  }

  /** Reads whole events and returns those that the client shall get. */
  function read(events: Buffer): Buffer | undefined {
    const text = events.toString("latin1"); // a character for each byte: all that is looked for is ASCII
    if (mayBePlain() && text.length <= eventBytesMax && isPlain(text) && readPlain(text)) return events;
    return readEvents(events, text);
  }

  /** Whether an event that looks plain tells nothing new: it is of the first choice, which is known, or of none. */
  function mayBePlain(): boolean {
    return facts.content && choices.has(0);
  }

  /** Counts events of one plain line each; when there are others, counts nothing and returns false. */
  function readPlain(text: string): boolean {
    const ends: number[] = [];
    for (let at = 0; at < text.length; ) {
      const plainEnd = lineEndOf(text, at);
      if (plainEnd < 0) return false;
      ends.push(plainEnd);
      at = plainEnd + 2;
    }
    let start = 0;
    for (const plainEnd of ends) {
      countPlain(text, start, plainEnd);
      start = plainEnd + 2;
    }
    return true;
  }

  function countPlain(text: string, start: number, plainEnd: number): void {
    output.unread(() => {
      const json = parseObject(text.slice(start + "data:".length, plainEnd));
      return json && readChunk(json).contentBytes;
    });
  }

  function readEvents(block: Buffer, text: string): Buffer | undefined {
    const pieces: Buffer[] = [];
    let from = 0; // of what is to be forwarded and not in `pieces` yet
    for (let at = 0; at < text.length; ) {
      const start = at;
      const plainEnd = mayBePlain() ? lineEndOf(text, start) : -1;
      let verdict: Verdict = "forward";
      if (plainEnd >= 0 && plainEnd + 2 - start <= eventBytesMax && isPlain(text.slice(start, plainEnd))) {
        countPlain(text, start, plainEnd);
        at = plainEnd + 2;
      } else {
        const event = readEvent(text, start);
        at = event.end;
        verdict = at - start > eventBytesMax ? stop({ kind: "too-long" }) : judge(event);
      }
      if (verdict === "forward") continue;
      if (start > from) pieces.push(block.subarray(from, start));
      from = at;
      if (verdict === "done") pieces.push(doneEvent);
      if (verdict !== "strip") return join(pieces);
    }
    if (from === 0) return block;
    if (from < block.length) pieces.push(block.subarray(from));
    return join(pieces);
  }

  function judge({ type, data = "" }: SseEvent): Verdict {
    if (data.trim() === "") return "forward"; // a comment or another sign of life
    if (isDone(data)) {
      facts.complete = true;
      return "done";
    }
    const json = parseObject(data);
    const error = json && readProviderError(json);
    if (error !== undefined) return stop({ kind: "error", error });
    if (type === "error") return stop({ kind: "error", error: { code: "", type: "" } });
    return json === undefined ? stop({ kind: "malformed" }) : readJson(json);
  }

  function stop(why: StreamFault): "fault" {
    facts.fault = why;
    return "fault";
  }

  function readJson(json: JsonObject): "forward" | "strip" {
    const chunk = readChunk(json);
    for (const choice of chunk.choices) choices.add(choice);
    for (const choice of chunk.finished) finishedChoices.add(choice);
    if (facts.replyId === "") facts.replyId = readReplyId(json);
    if (chunk.content) {
      facts.content = true;
      output.read(chunk.contentBytes, chunk.finished.length === 0);
    }
    const reportsUsage = isObject(json["usage"]);
    if (reportsUsage) facts.usage = readUsage(json["usage"], json["service_tier"]) ?? facts.usage;
    // The extra chunk of `include_usage`; some providers have nothing to put into it. Azure's first chunk has no choices
    // either, and comes before content.
    const isExtra = chunk.bare && (reportsUsage || (facts.content && json["usage"] === null));
    return isExtra && !includeUsage ? "strip" : "forward";
  }

  return { push, end, facts, contentEvents: output.events, outputTokens: output.tokens };
}

function isPlain(text: string): boolean {
  return !text.includes("\r") && !notable.test(text);
}

/**
 * Where the one line of an event ends that begins at an offset and is `data` alone, with the end of a JSON object, ended by
 * two LFs; -1 when the event is of any other form.
 */
function lineEndOf(text: string, at: number): number {
  if (text.charCodeAt(at) !== 0x64) return -1;
  const end = text.indexOf("\n", at);
  const plain = text.charCodeAt(end - 1) === 0x7d && text.charCodeAt(end + 1) === 0x0a && text.startsWith("data:", at);
  return end >= 0 && plain ? end : -1;
}

const byteOrderMark = Buffer.from("\uFEFF");
const lineFeed = Buffer.from("\n");
const blankLine = Buffer.from("\n\n");

/** Whether the last byte, a CR that might have had an LF to come, is a blank line. */
function endsBlank(bytes: Buffer): boolean {
  const before = bytes[bytes.length - 2];
  return bytes[bytes.length - 1] === 0x0d && (before === undefined || before === 0x0a || before === 0x0d);
}

function isDone(data: string): boolean {
  return data.trim() === "[DONE]";
}

function join(pieces: readonly Buffer[]): Buffer | undefined {
  return pieces.length <= 1 ? pieces[0] : Buffer.concat(pieces);
}
