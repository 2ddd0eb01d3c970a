import { isUtf8 } from "node:buffer";
import type { WireRequest } from "@weir/gen/weir/chat/v1/wire_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { isObject, type JsonObject } from "../json.ts";
import { type Members, scanMembers, type Span } from "./members.ts";

/** What Weir reads from a chat completions request. The rest is the provider's to judge. */
export interface ChatRequest {
  /** The model name that the caller sent: 1 to 512 characters. */
  readonly model: string;
  /** Whether the answer shall be a stream. */
  readonly stream: boolean;
  /** Whether the caller wants the usage of its stream (`stream_options.include_usage`). */
  readonly includeUsage: boolean;
  /**
   * Most output tokens over all choices: the larger of `max_completion_tokens` and `max_tokens`, times `n`. Absent: the
   * model's own limit.
   */
  readonly maxOutputTokens?: number;
  /** How many choices to make (`n`): 1 to 128. */
  readonly choiceCount: number;
  /** The end user: `safety_identifier`, else `user`. */
  readonly user?: string;
  /** A guess at the tokens of the input, by its bytes; see {@link estimateInputTokens}. */
  readonly inputTokensEstimate: number;
  /** Where the values stand that a target may need changed. */
  readonly wire: { readonly model: Span; readonly streamOptions?: Span };
}

/** Deepest nesting of a body. Tools with large schemas stay far below. */
const depthMax = 128;
const modelLengthMax = 512;
const userLengthMax = 256;
const outputTokensMax = 10_000_000;
const choicesMax = 128;

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

const roles: ReadonlySet<unknown> = new Set(["system", "developer", "user", "assistant", "tool", "function"]);

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
  if (modelSpan === undefined) throw invalid("`model` is missing; name the model to call.", "model");
  const model = readModel(json["model"]);
  checkMessages(json["messages"]);
  const stream = readOptional(json["stream"], "stream", "true or false", isBoolean) ?? false;
  const streamOptionsSpan = members.spans.get("stream_options");
  const includeUsage =
    streamOptionsSpan !== undefined &&
    readStreamOptions(json["stream_options"], body.subarray(streamOptionsSpan.start, streamOptionsSpan.end));
  const choiceCount =
    readOptional(json["n"], "n", `a whole number from 1 to ${choicesMax}`, isIntegerUpTo(choicesMax)) ?? 1;
  const maxTokens = readTokens(json["max_tokens"], "max_tokens");
  const maxCompletionTokens = readTokens(json["max_completion_tokens"], "max_completion_tokens");
  const perChoice = Math.max(maxTokens ?? 0, maxCompletionTokens ?? 0);
  const user = readUser(json["safety_identifier"], "safety_identifier") ?? readUser(json["user"], "user");
  return {
    model,
    stream,
    includeUsage,
    ...(perChoice > 0 ? { maxOutputTokens: perChoice * choiceCount } : {}),
    choiceCount,
    ...(user === undefined ? {} : { user }),
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

function readModel(value: unknown): string {
  if (typeof value !== "string" || value === "") throw invalid("`model` must be a text that is not empty.", "model");
  if (value.length > modelLengthMax) throw invalid(`\`model\` is longer than ${modelLengthMax} characters.`, "model");
  return value;
}

function checkMessages(value: unknown): void {
  if (!Array.isArray(value) || value.length === 0) {
    throw invalid("`messages` must be a list of at least one message.", "messages");
  }
  for (let index = 0; index < value.length; index += 1) {
    const message: unknown = value[index];
    if (!isObject(message)) throw invalid("A message must be an object.", `messages[${index}]`);
    if (!roles.has(message["role"])) {
      throw invalid(
        "`role` must be `system`, `developer`, `user`, `assistant`, `tool` or `function`.",
        `messages[${index}].role`,
      );
    }
  }
}

function readStreamOptions(value: unknown, bytes: Buffer): boolean {
  if (value == null) return false;
  if (!isObject(value)) throw invalid("`stream_options` must be an object.", "stream_options");
  const param = "stream_options.include_usage";
  if (scanMembers(bytes, streamOptionMembers, depthMax)?.duplicate !== undefined) {
    throw invalid("`include_usage` stands more than once.", param);
  }
  return readOptional(value["include_usage"], param, "true or false", isBoolean) ?? false;
}

function readTokens(value: unknown, param: string): number | undefined {
  return readOptional(value, param, `a whole number from 1 to ${outputTokensMax}`, isIntegerUpTo(outputTokensMax));
}

function readUser(value: unknown, param: string): string | undefined {
  const user = readOptional(value, param, `a text of at most ${userLengthMax} characters`, isUser);
  return user === "" ? undefined : user;
}

function readOptional<T>(value: unknown, param: string, wanted: string, is: (value: unknown) => value is T) {
  if (value == null) return undefined;
  if (!is(value)) throw invalid(`\`${param}\` must be ${wanted}.`, param);
  return value;
}

function isBoolean(value: unknown): value is boolean {
  return typeof value === "boolean";
}

function isUser(value: unknown): value is string {
  return typeof value === "string" && value.length <= userLengthMax;
}

function isIntegerUpTo(max: number): (value: unknown) => value is number {
  return (value): value is number => Number.isInteger(value) && (value as number) >= 1 && (value as number) <= max;
}

function invalid(text: string, param?: string): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, { text, ...(param === undefined ? {} : { metadata: { param } }) });
}
