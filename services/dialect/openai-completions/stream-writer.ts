import type { GenerateEvent, ReplyDelta, ReplyEnd, ReplyStart, TokenLogprob } from "@weir/gen/weir/chat/v1/event_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { AnswerOptions, Frame, FrameWriter } from "../codec.ts";
import { finishReason, promptCharacters, writeHead } from "./answer-writer.ts";
import { characters, writeLogprobs } from "./logprobs.ts";
import { mergeUsage, writeUsage } from "./usage.ts";

/** Writes a streamed answer: a chunk for each piece of text, one for each choice's end, the usage when asked for, `[DONE]`. */
export function createFrameWriter(options: AnswerOptions): FrameWriter {
  const offsets = new Map<number, number>();
  const tail = options.includeUsage ? '}],"usage":null}' : "}]}";
  let usage: Usage | undefined;
  let head = "";
  begin(undefined);

  function begin(start: ReplyStart | undefined): void {
    head = `${JSON.stringify(writeHead(start, options)).slice(0, -1)},"choices":[`;
  }

  function chunk(choice: number, text: string, logprobs: string, finish: string): Frame {
    const rest = `,"index":${choice},"logprobs":${logprobs},"finish_reason":${finish}${tail}`;
    return { type: "", data: `${head}{"text":${text}${rest}` };
  }

  /** Where a choice's text goes on counts only what had probabilities. */
  function writeProbabilities(choice: number, list: readonly TokenLogprob[]): string {
    const offset = offsets.get(choice) ?? promptCharacters(options);
    const length = list.reduce((sum, { token }) => sum + characters(token), 0);
    offsets.set(choice, offset + length);
    return JSON.stringify(writeLogprobs(list, offset));
  }

  function writeDelta({ choice, content, logprobs }: ReplyDelta): readonly Frame[] {
    if (content.case !== "text" && content.case !== "refusal") return noFrames;
    const probabilities = logprobs.length === 0 ? "null" : writeProbabilities(choice, logprobs);
    return [chunk(choice, JSON.stringify(content.value), probabilities, "null")];
  }

  function finish(end: ReplyEnd): readonly Frame[] {
    const frames = end.choices.map((it) => chunk(it.choice, '""', "null", JSON.stringify(finishReason(it))));
    const counts = options.includeUsage ? writeUsage(end.usage ?? usage) : undefined;
    if (counts !== undefined) frames.push({ type: "", data: `${head}],"usage":${JSON.stringify(counts)}}` });
    frames.push(done);
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

const done: Frame = { type: "", data: "[DONE]" };
const noFrames: readonly Frame[] = [];
