import type { GenerateEvent, ReplyDelta } from "@weir/gen/weir/chat/v1/event_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { Frame, FrameWriter } from "../codec.ts";
import { mergeUsage } from "../openai-completions/usage.ts";
import { writeEnd } from "./answer.ts";

/** Writes a streamed answer: a frame for each piece of text, one that says how it ended, `[DONE]`. */
export function createFrameWriter(): FrameWriter {
  let usage: Usage | undefined;
  return {
    write({ kind }: GenerateEvent) {
      switch (kind.case) {
        case "delta":
          return writeDelta(kind.value);
        case "usage":
          usage = mergeUsage(usage, kind.value);
          return noFrames;
        case "end":
          return [{ type: "", data: JSON.stringify({ done: true, ...writeEnd(kind.value, usage) }) }, done];
        default: // the beginning, sources and warnings have no place in this dialect
          return noFrames;
      }
    },
  };
}

function writeDelta({ choice, content }: ReplyDelta): readonly Frame[] {
  if (choice !== 0 || (content.case !== "text" && content.case !== "refusal")) return noFrames;
  return [{ type: "", data: `{"text":${JSON.stringify(content.value)}}` }];
}

const done: Frame = { type: "", data: "[DONE]" };
const noFrames: readonly Frame[] = [];
