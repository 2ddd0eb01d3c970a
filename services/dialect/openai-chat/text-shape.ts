import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import type { TextShape } from "../codec.ts";
import { isObject, parseObject } from "../json.ts";

/** As the reader of chunks has it: of a piece of text, it keeps no more than that there is such a text. */
export function textShapeOf(data: string, { kind }: GenerateEvent): TextShape | undefined {
  if (kind.case !== "delta" || kind.value.content.case !== "text") return undefined;
  const { choice, part, content, logprobs } = kind.value;
  if (logprobs.length > 0) return undefined;
  const start = data.indexOf(textStart) + textStart.length;
  const end = start < textStart.length ? -1 : data.indexOf('"', start);
  // Another choice may say nothing at the place, so that the event is not of what stands there.
  if (end < 0 || data.slice(start, end) !== inside(content.value)) return undefined;
  const pieces = [data.slice(0, start), ...withoutPadding(data.slice(end))];
  return standsIn(pieces, content.value) ? { choice, part, pieces } : undefined;
}

/** What comes before and after the padding of a chunk; a chunk that has none is one piece. */
function withoutPadding(rest: string): readonly string[] {
  const start = rest.indexOf(paddingStart) + paddingStart.length;
  const end = start < paddingStart.length ? -1 : rest.indexOf('"', start);
  return end < 0 ? [rest] : [rest.slice(0, start), rest.slice(end)];
}

/** Whether a text stands between the pieces, as the parser sees it: another one in its place must change the content. */
function standsIn(pieces: readonly string[], text: string): boolean {
  const other = `${text}-`;
  const json = parseObject(pieces.join(inside(other)));
  const choices = json?.["choices"];
  const first: unknown = Array.isArray(choices) ? choices[0] : undefined;
  const delta = isObject(first) ? first["delta"] : undefined;
  return isObject(delta) && delta["content"] === other && (pieces.length === 2 || json?.["obfuscation"] === other);
}

/** JSON of a text, without its quotes. */
function inside(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}

const textStart = '"content":"';
/**
 * Of a member of random length that nobody reads: it hides the lengths of texts from those who see only sizes on the wire.
 * https://platform.openai.com/docs/api-reference/chat/create#chat_create-stream_options-include_obfuscation
 */
const paddingStart = ',"obfuscation":"';
