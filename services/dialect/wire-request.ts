import { isUtf8 } from "node:buffer";
import type { Span, WireRequest } from "@weir/gen/weir/chat/v1/wire_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import type { Codec, Envelope } from "./codec.ts";
import { type Members, scanMembers } from "./json-scan.ts";
import { isObject, type JsonObject } from "./json.ts";
import { parseJson } from "./parse-json.ts";

/** A request of a public dialect as the door that received it knows it. */
export interface WireReading {
  /** The body; the client's own bytes, but with a model where only the path named one. */
  readonly body: Buffer;
  readonly envelope: Envelope;
  /** A guess at the tokens of the input, by its bytes. */
  readonly inputTokensEstimate: number;
  /** Where the value of `model` stands; undefined when the body has none. */
  readonly model: Span | undefined;
  /** Where the value of `stream_options` stands, in dialects that have it. */
  readonly streamOptions: Span | undefined;
}

/** Deepest nesting of a body. Tools with large schemas stay far below. */
const depthMax = 128;

// Every member that Weir reads or sets, in any dialect. Two of one name would be read one way here and another way
// elsewhere, so that what was checked and what is served would differ.
const ownMembers: ReadonlySet<string> = new Set([
  "model",
  "stream",
  "stream_options",
  "messages",
  "input",
  "contents",
  "prompt",
  "max_tokens",
  "max_completion_tokens",
  "max_output_tokens",
  "max_length",
  "n",
  "best_of",
  "user",
  "safety_identifier",
  "metadata",
  "labels",
  "options",
  "generationConfig",
  "generation_config",
  "dimensions",
  "encoding_format",
  "requests",
  "content",
  "outputDimensionality",
  "output_dimensionality",
  "embedContentConfig",
  "embed_content_config",
  "service_tier",
  "serviceTier",
]);

const streamOptionMembers: ReadonlySet<string> = new Set(["include_usage"]);

/**
 * Reads a request body: one linear scan and one parse. Only its envelope is checked.
 * @param pathModel the model that the path names; put into a body that lacks it, in dialects that have it there
 * @throws WeirError INVALID_REQUEST with `param`, the member at fault; never quotes the body
 */
export function readWireRequest(codec: Codec, body: Buffer, pathModel?: string): WireReading {
  const members = scanBody(body);
  if (pathModel !== undefined && "model" in codec.params && members !== undefined && !members.spans.has("model")) {
    return readWireRequest(codec, withModel(body, members, pathModel));
  }
  const json = parseBody(body);
  if (json === undefined || members === undefined) throw invalid("The body is not a JSON object.");
  const streamOptions = span(members, "stream_options");
  if (streamOptions !== undefined) refuseDoubledUsage(body.subarray(streamOptions.start, streamOptions.end));
  return {
    body,
    envelope: codec.readEnvelope(json),
    inputTokensEstimate: estimate(body, members),
    model: span(members, "model"),
    streamOptions,
  };
}

/**
 * Checks a body that is to be rewritten before it is read: that it is UTF-8, not too deep, and says nothing twice of what Weir reads.
 * @throws WeirError INVALID_REQUEST
 */
export function checkBody(body: Buffer): void {
  if (scanBody(body) === undefined) throw invalid("The body is not a JSON object.");
}

function scanBody(body: Buffer): Members | undefined {
  if (!isUtf8(body)) throw invalid("The body is not UTF-8.");
  if (body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf) {
    throw invalid("The body begins with a byte order mark; send the JSON without it.");
  }
  const members = scanMembers(body, ownMembers, depthMax);
  if (members?.tooDeep) throw invalid(`The body nests deeper than ${depthMax} levels.`);
  if (members?.duplicate !== undefined) {
    // What is not JSON has no members.
    parseBody(body);
    throw invalid(`\`${members.duplicate}\` stands more than once.`, members.duplicate);
  }
  return members;
}

/** The request as it travels in the mesh. */
export function wireRequest(
  codec: Codec,
  { body, envelope, model, streamOptions }: WireReading,
  stream: boolean,
  headers: Record<string, string>,
): WireRequest {
  const wire: WireRequest = {
    $typeName: "weir.chat.v1.WireRequest",
    dialect: codec.dialect,
    body,
    stream,
    includeUsage: envelope.includeUsage,
    headers,
  };
  if (model !== undefined) wire.model = model;
  if (streamOptions !== undefined) wire.streamOptions = streamOptions;
  if (envelope.maxOutputTokens !== undefined) wire.maxOutputTokens = envelope.maxOutputTokens;
  if (envelope.choiceCount !== 1) wire.choiceCount = envelope.choiceCount;
  if (envelope.serviceTier !== undefined) wire.serviceTier = envelope.serviceTier;
  return wire;
}

/**
 * A guess at the tokens of a request: a token for every four bytes of the whole body, which suits English prose and
 * code and is low by up to half for scripts of three bytes a letter; 1,000 tokens for each embedded `data:` URL in base 64,
 * whatever its size. Costs one scan.
 */
export function estimateInputTokens(body: Buffer): number {
  const members = scanMembers(body, new Set(), depthMax);
  return members === undefined ? Math.ceil(body.length / 4) : estimate(body, members);
}

/** Shorter bodies are taken as text throughout: what an embedded picture could save is less than looking for it costs. */
const lookAboveBytes = 16_384;

/**
 * What budgets set aside for the input of a request: a token for every three bytes, a third more than the usual guess, so that
 * nearly every input is covered from the beginning.
 */
export function inputTokensToHold(body: Uint8Array): number {
  if (body.length <= lookAboveBytes) return Math.ceil(body.length / 3);
  return Math.ceil((estimateInputTokens(Buffer.from(body.buffer, body.byteOffset, body.byteLength)) * 4) / 3);
}

function estimate(body: Buffer, members: Members): number {
  return Math.ceil((body.length - members.dataBytes) / 4) + 1_000 * members.dataCount;
}

function withModel(body: Buffer, { bodyStart }: Members, model: string): Buffer {
  const rest = body.subarray(bodyStart);
  const empty = rest.toString("latin1").trimStart().startsWith("}");
  const member = `"model":${JSON.stringify(model)}${empty ? "" : ","}`;
  return Buffer.concat([body.subarray(0, bodyStart), Buffer.from(member), rest]);
}

function span(members: Members, name: string): Span | undefined {
  const found = members.spans.get(name);
  return found && { $typeName: "weir.chat.v1.Span", start: found.start, end: found.end };
}

function refuseDoubledUsage(bytes: Buffer): void {
  if (scanMembers(bytes, streamOptionMembers, depthMax)?.duplicate !== undefined) {
    throw invalid("`include_usage` stands more than once.", "stream_options.include_usage");
  }
}

function parseBody(body: Buffer): JsonObject | undefined {
  let json: unknown;
  try {
    json = parseJson(body.toString());
  } catch (error) {
    // The engine's text quotes the body; only its position may be told.
    const position = /at position (\d+)/.exec(error instanceof Error ? error.message : "")?.[1];
    throw invalid(`The body is not valid JSON${position === undefined ? "" : `; see character ${position}`}.`);
  }
  return isObject(json) ? json : undefined;
}

function invalid(text: string, param?: string): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, { text, ...(param === undefined ? {} : { metadata: { param } }) });
}
