import type { GenerateEvent, TokenLogprob } from "@weir/gen/weir/chat/v1/event_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { AnswerOptions, Frame } from "../../codec.ts";
import { type JsonObject, parseExact } from "../../json.ts";
import { ollama } from "../codec.ts";

// How tests read and write answers of Ollama's servers.

export const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1_000);

export const options: AnswerOptions = { id: "x", createTimeMs: 0, model: "alias", includeUsage: true, request: {} };

export function writeFrames(events: readonly GenerateEvent[]): Frame[] {
  const writer = ollama.createFrameWriter(options);
  return events.flatMap((event) => writer.write(event));
}

export function readFrames(data: readonly string[]) {
  const reader = ollama.createFrameReader();
  const events: GenerateEvent[] = [];
  for (const text of data) reader.read("", text, events);
  reader.finish(events);
  return { events, complete: reader.complete, fault: reader.fault, usage: reader.usage };
}

export const stream = (events: readonly GenerateEvent[]) => readFrames(writeFrames(events).map(({ data }) => data));

export function parse(text: string): JsonObject {
  const json = parseExact(text);
  if (json === undefined) throw new Error("is no JSON object");
  return json;
}

/** Joins what follows in one part. */
export function joined(events: readonly GenerateEvent[]): unknown[] {
  const list: unknown[] = [];
  let last: { part: number; case: string | undefined; text: string; logprobs: TokenLogprob[] } | undefined;
  for (const { kind } of events) {
    const content = kind.case === "delta" ? kind.value.content : undefined;
    if (kind.case !== "delta" || (content?.case !== "text" && content?.case !== "reasoning")) {
      list.push(kind);
      last = undefined;
      continue;
    }
    const text = content.case === "text" ? content.value : content.value.text;
    const { part, logprobs } = kind.value;
    if (last?.part === part && last.case === content.case) {
      last.text += text;
      last.logprobs.push(...logprobs);
    } else {
      last = { part, case: content.case, text, logprobs: [...logprobs] };
      list.push(last);
    }
  }
  return list;
}

export const usageOf = (counts: Partial<Usage>): Usage => ({
  $typeName: "weir.common.v1.Usage",
  serverToolUses: {},
  ...counts,
});
