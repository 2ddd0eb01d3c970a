import type { WireRequest } from "@weir/gen/weir/chat/v1/wire_pb";
import type { WeirError } from "@weir/kit/weir-error";
import { asBuffer } from "../bytes.ts";
import { invalid } from "../faults.ts";
import { scanMembers, type Span } from "../json-scan.ts";

/** Deepest nesting of a body. Tools with large schemas stay far below. */
const depthMax = 128;

const streamOptionMembers: ReadonlySet<string> = new Set(["include_usage"]);

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
