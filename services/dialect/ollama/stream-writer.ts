import type { GenerateEvent, ReplyDelta, ReplyEnd, ReplyStart } from "@weir/gen/weir/chat/v1/event_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { AnswerOptions, Frame, FrameWriter } from "../codec.ts";
import { type JsonObject, writeJson } from "../json.ts";
import { endReason, imageData, mergeUsage, writeEnd, writeHead, writeLogprob } from "./answer-writer.ts";
import { brokenCall } from "./errors.ts";
import { createPendingCalls } from "./pending-calls.ts";

/**
 * Writes a streamed answer. A call is written whole, when something else follows it or at the end; one that cannot be is an
 * error in place of the last line.
 */
export function createFrameWriter(options: AnswerOptions): FrameWriter {
  const calls = createPendingCalls();
  let usage: Usage | undefined;
  let head = "";
  begin(undefined);

  function begin(start: ReplyStart | undefined): void {
    const members = JSON.stringify(writeHead(start, options)).slice(0, -1);
    head = `${members},"message":{"role":"assistant","content":`;
  }

  function line(content: string, message: string, rest: string): Frame {
    return { type: "", data: `${head}${content}${message}},${rest}}` };
  }

  function callFrames(written: readonly JsonObject[]): Frame[] {
    return written.length === 0 ? [] : [line('""', `,"tool_calls":${writeJson(written)}`, '"done":false')];
  }

  function writeDelta(delta: ReplyDelta): readonly Frame[] {
    const { content, logprobs } = delta;
    if (delta.choice !== 0 || content.case === undefined) return noFrames;
    if (content.case === "toolCall") {
      calls.add(delta.part, content.value);
      return noFrames;
    }
    const rest = logprobs.length === 0 ? '"done":false' : `"done":false,"logprobs":${writeLogprobs(delta)}`;
    const before = callFrames(calls.takeWhole());
    switch (content.case) {
      case "text":
      case "refusal":
        before.push(line(JSON.stringify(content.value), "", rest));
        break;
      case "reasoning":
        if (content.value.text !== "")
          before.push(line('""', `,"thinking":${JSON.stringify(content.value.text)}`, rest));
        break;
      case "image":
        for (const data of imageData(content.value)) before.push(line('""', `,"images":["${data}"]`, rest));
        break;
      default: // sound, which no client of this dialect can ask for
    }
    return before;
  }

  function finish(end: ReplyEnd): readonly Frame[] {
    const rest = calls.takeRest(endReason(end));
    if (rest === undefined) return [{ type: "", data: brokenCall }];
    const frames = callFrames(rest);
    frames.push(line('""', "", JSON.stringify(writeEnd(end, usage)).slice(1, -1)));
    return frames;
  }

  return {
    write({ kind }: GenerateEvent) {
      switch (kind.case) {
        case "delta":
          return writeDelta(kind.value);
        case "start":
          begin(kind.value);
          return noFrames;
        case "usage":
          usage = mergeUsage(usage, kind.value);
          return noFrames;
        case "end":
          return finish(kind.value);
        default: // sources and warnings have no place in this dialect
          return noFrames;
      }
    },
  };
}

const noFrames: readonly Frame[] = [];

function writeLogprobs({ logprobs }: ReplyDelta): string {
  return JSON.stringify(logprobs.map(writeLogprob));
}
