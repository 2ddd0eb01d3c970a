import { isObject, type JsonObject } from "../json.ts";

/** What one chunk of a streamed answer holds, as far as metering and the client's safety need it. */
export interface ChunkReading {
  /** Choices that the chunk speaks of. */
  readonly choices: readonly number[];
  /** Choices that it ends. */
  readonly finished: readonly number[];
  /** Bytes of text, reasoning, refusal, sound and tool calls. */
  readonly contentBytes: number;
  /** Whether it holds content: any of the above, or the end of a choice. */
  readonly content: boolean;
  /** Whether it has no choice at all. */
  readonly bare: boolean;
}

/** More choices than a request may ask for; what a provider invents beyond is not followed. */
const choicesMax = 128;

/** Reads a chunk. What is odd counts as absent. */
export function readChunk(json: JsonObject): ChunkReading {
  const list = json["choices"];
  const choices: number[] = [];
  const finished: number[] = [];
  let contentBytes = 0;
  for (const choice of Array.isArray(list) ? (list as unknown[]) : []) {
    if (!isObject(choice)) continue;
    const index = choice["index"] ?? 0;
    if (typeof index !== "number" || index < 0 || index >= choicesMax) continue;
    choices.push(index);
    if (typeof choice["finish_reason"] === "string" && choice["finish_reason"] !== "") finished.push(index);
    const delta = choice["delta"];
    if (isObject(delta)) contentBytes += deltaBytes(delta);
  }
  return {
    choices,
    finished,
    contentBytes,
    content: contentBytes > 0 || finished.length > 0,
    bare: list == null || (Array.isArray(list) && list.length === 0),
  };
}

// `reasoning_content` is DeepSeek's and vLLM's name, `reasoning` that of OpenRouter and Groq.
const textMembers = ["content", "reasoning_content", "reasoning", "refusal"] as const;
const structuredMembers = ["tool_calls", "function_call", "audio", "reasoning_details", "images"] as const;

function deltaBytes(delta: JsonObject): number {
  let bytes = 0;
  for (const name of textMembers) bytes += textBytes(delta[name], 0);
  for (const name of structuredMembers) bytes += textBytes(delta[name], 0);
  return bytes;
}

/** Bytes of all that the choices of a whole answer say. */
export function choicesTextBytes(choices: readonly unknown[]): number {
  let bytes = 0;
  for (const choice of choices) {
    const message = isObject(choice) ? choice["message"] : undefined;
    if (isObject(message)) bytes += deltaBytes(message);
  }
  return bytes;
}

const depthMax = 8;

/** Bytes of all texts inside a value; keys and numbers do not count. */
function textBytes(value: unknown, depth: number): number {
  if (typeof value === "string") return value.length;
  if (typeof value !== "object" || value === null || depth > depthMax) return 0;
  let bytes = 0;
  for (const inner of Object.values(value)) bytes += textBytes(inner, depth + 1);
  return bytes;
}

const replyIdLengthMax = 256;

/** The provider's id of the reply; empty when it gave none that is a text of a decent length. */
export function readReplyId(json: JsonObject): string {
  const id = json["id"];
  return typeof id === "string" && id.length <= replyIdLengthMax ? id : "";
}
