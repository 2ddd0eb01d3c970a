import { isUtf8 } from "node:buffer";
import type { WireRequest } from "@weir/gen/weir/chat/v1/wire_pb";
import type { WeirError } from "@weir/kit/weir-error";
import { isObject, type JsonObject } from "../json.ts";
import { type ChatEnvelope, missingModel, readEnvelope } from "./envelope.ts";
import { invalid } from "./fields.ts";
import { type Members, scanMembers, type Span } from "./members.ts";

/** What Weir reads from a chat completions request. The rest is the provider's to judge. */
export interface ChatRequest extends ChatEnvelope {
  /** A guess at the tokens of the input, by its bytes; see {@link estimateInputTokens}. */
  readonly inputTokensEstimate: number;
  /** Where the values stand that a target may need changed. */
  readonly wire: { readonly model: Span; readonly streamOptions?: Span };
}

/** Deepest nesting of a body. Tools with large schemas stay far below. */
const depthMax = 128;

// Every member that Weir reads or sets. Two of one name would be read one way here and another way elsewhere, so that
// what was checked and what is served would differ.
const ownMembers: ReadonlySet<string> = new Set([
  "model",
  "messages",
  "stream",
  "stream_options",
  "max_tokens",
  "max_completion_tokens",
  "n",
  "user",
  "safety_identifier",
]);

const streamOptionMembers: ReadonlySet<string> = new Set(["include_usage"]);

/**
 * Reads a request body: one linear scan and one `JSON.parse`. Of the messages only their shape and roles are checked.
 * @throws WeirError INVALID_REQUEST with `param`, the member at fault; never quotes the body
 */
export function readChatRequest(body: Buffer): ChatRequest {
  if (!isUtf8(body)) throw invalid("The body is not UTF-8.");
  if (body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf) {
    throw invalid("The body begins with a byte order mark; send the JSON without it.");
  }
  const members = scanMembers(body, ownMembers, depthMax);
  if (members?.tooDeep) throw invalid(`The body nests deeper than ${depthMax} levels.`);
  const json = readBody(body);
  if (json === undefined || members === undefined) throw invalid("The body is not a JSON object.");
  if (members.duplicate !== undefined) {
    throw invalid(`\`${members.duplicate}\` stands more than once.`, members.duplicate);
  }
  const modelSpan = members.spans.get("model");
  if (modelSpan === undefined) throw missingModel();
  const streamOptionsSpan = members.spans.get("stream_options");
  if (streamOptionsSpan !== undefined) {
    refuseDoubledUsage(body.subarray(streamOptionsSpan.start, streamOptionsSpan.end));
  }
  return {
    ...readEnvelope(json),
    inputTokensEstimate: estimate(body, members),
    wire: { model: modelSpan, ...(streamOptionsSpan === undefined ? {} : { streamOptions: streamOptionsSpan }) },
  };
}

/**
 * A guess at the tokens of a request: a token for every four bytes of the whole body, which suits English prose and
 * code and is low by up to half for scripts of three bytes a letter; 1,000 tokens for each embedded `data:` URL, whatever its size. Costs one scan.
 */
export function estimateInputTokens(body: Buffer): number {
  const members = scanMembers(body, new Set(), depthMax);
  return members === undefined ? Math.ceil(body.length / 4) : estimate(body, members);
}

function estimate(body: Buffer, members: Members): number {
  return Math.ceil((body.length - members.dataBytes) / 4) + 1_000 * members.dataCount;
}

/**
 * The body for a target: the client's bytes with the target's model in place of the alias and, for a stream, with
 * `stream_options.include_usage` set, so that the target reports what it used. Every other byte is as the client sent
 * it.
 * @param streamsUsage whether the target knows `stream_options.include_usage`; when not, the member stays as it came
 * @throws WeirError INVALID_REQUEST when the spans do not fit the body
 */
export function upstreamBody(wire: WireRequest, targetModel: string, streamsUsage: boolean): Buffer {
  const body = asBuffer(wire.body);
  const model = wire.model;
  if (model === undefined || !spanFits(model, body) || body[model.start] !== 0x22) throw badSpan("model");
  const edits: Edit[] = [{ ...model, text: JSON.stringify(targetModel) }];
  if (wire.stream && streamsUsage && !wire.includeUsage) edits.push(usageEdit(body, wire.streamOptions));
  return splice(body, edits);
}

interface Edit extends Span {
  readonly text: string;
}

function usageEdit(body: Buffer, options: Span | undefined): Edit {
  if (options === undefined) {
    const start = body.indexOf(0x7b) + 1;
    return { start, end: start, text: '"stream_options":{"include_usage":true},' };
  }
  if (!spanFits(options, body)) throw badSpan("stream_options");
  const value = body.subarray(options.start, options.end);
  const members = scanMembers(value, streamOptionMembers, depthMax);
  if (members === undefined) return { ...options, text: '{"include_usage":true}' }; // null
  const set = members.spans.get("include_usage");
  if (set !== undefined) return { start: options.start + set.start, end: options.start + set.end, text: "true" };
  const start = options.start + members.bodyStart;
  const empty = value.subarray(members.bodyStart, -1).toString("latin1").trim() === "";
  return { start, end: start, text: `"include_usage":true${empty ? "" : ","}` };
}

/** Copies the body once, with pieces of it replaced. */
function splice(body: Buffer, edits: Edit[]): Buffer {
  edits.sort((a, b) => a.start - b.start);
  let length = body.length;
  for (const edit of edits) length += Buffer.byteLength(edit.text) - (edit.end - edit.start);
  const result = Buffer.allocUnsafe(length);
  let from = 0;
  let to = 0;
  for (const edit of edits) {
    if (edit.start < from) throw badSpan("stream_options");
    to += body.copy(result, to, from, edit.start);
    to += result.write(edit.text, to);
    from = edit.end;
  }
  body.copy(result, to, from);
  return result;
}

function spanFits(span: Span, body: Buffer): boolean {
  return span.start > 0 && span.start < span.end && span.end < body.length;
}

function badSpan(param: string): WeirError {
  return invalid(`The span of \`${param}\` does not fit the body.`, param);
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function readBody(body: Buffer): JsonObject | undefined {
  let json: unknown;
  try {
    json = JSON.parse(body.toString());
  } catch (error) {
    // The engine's text quotes the body; only its position may be told.
    const position = /at position (\d+)/.exec(error instanceof Error ? error.message : "")?.[1];
    throw invalid(`The body is not valid JSON${position === undefined ? "" : `; see character ${position}`}.`);
  }
  return isObject(json) ? json : undefined;
}

function refuseDoubledUsage(streamOptions: Buffer): void {
  if (scanMembers(streamOptions, streamOptionMembers, depthMax)?.duplicate === undefined) return;
  throw invalid("`include_usage` stands more than once.", "stream_options.include_usage");
}
