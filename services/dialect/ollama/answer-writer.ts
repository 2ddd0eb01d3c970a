import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { Media } from "@weir/gen/weir/chat/v1/conversation_pb";
import {
  type GenerateEvent,
  type ReplyEnd,
  type ReplyStart,
  StopReason,
  type TokenLogprob,
} from "@weir/gen/weir/chat/v1/event_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import { writeBase64 } from "../base64.ts";
import type { AnswerOptions } from "../codec.ts";
import { type JsonObject, writeJson } from "../json.ts";
import { writeDetails } from "./details.ts";
import { brokenCall } from "./errors.ts";
import { createPendingCalls } from "./pending-calls.ts";
import { writeStopReason } from "./stop-reason.ts";
import { writeUsage } from "./usage.ts";

/**
 * Writes a whole answer. Its message has one text: texts and refusals are joined, and so is reasoning. A call that cannot be
 * written makes it an error.
 */
export function writeAnswer(events: readonly GenerateEvent[], options: AnswerOptions): string {
  const calls = createPendingCalls();
  const logprobs: TokenLogprob[] = [];
  const images: string[] = [];
  let head = writeHead(undefined, options);
  let content = "";
  let thinking = "";
  let usage: Usage | undefined;
  let end: ReplyEnd | undefined;
  for (const { kind } of events) {
    if (kind.case === "start") head = writeHead(kind.value, options);
    else if (kind.case === "usage") usage = mergeUsage(usage, kind.value);
    else if (kind.case === "end") end = kind.value;
    if (kind.case !== "delta" || kind.value.choice !== 0) continue;
    const { content: piece, part } = kind.value;
    logprobs.push(...kind.value.logprobs);
    if (piece.case === "text" || piece.case === "refusal") content += piece.value;
    else if (piece.case === "reasoning") thinking += piece.value.text;
    else if (piece.case === "toolCall") calls.add(part, piece.value);
    else if (piece.case === "image") images.push(...imageData(piece.value));
  }
  const toolCalls = calls.takeRest(endReason(end));
  if (toolCalls === undefined) return brokenCall;
  return writeJson({
    ...head,
    message: {
      role: "assistant",
      content,
      ...(thinking === "" ? {} : { thinking }),
      ...(images.length === 0 ? {} : { images }),
      ...(toolCalls.length === 0 ? {} : { tool_calls: toolCalls }),
    },
    ...writeEnd(end, usage),
    ...(logprobs.length === 0 ? {} : { logprobs: logprobs.map(writeLogprob) }),
  });
}

/** The members that stand in every line, and first in a body. */
export function writeHead(start: ReplyStart | undefined, options: AnswerOptions): JsonObject {
  const createTimeMs = start?.createTime === undefined ? options.createTimeMs : timestampMs(start.createTime);
  return { model: start?.model || options.model, created_at: new Date(createTimeMs).toISOString() };
}

/** The members of the last line, or of a body, that say how the reply ended. */
export function writeEnd(end: ReplyEnd | undefined, usageSoFar: Usage | undefined): JsonObject {
  return {
    done: true,
    done_reason: writeStopReason(endReason(end), end?.choices[0]?.rawReason ?? ""),
    ...writeDetails(end?.details),
    ...writeUsage(end?.usage ?? usageSoFar),
  };
}

export function endReason(end: ReplyEnd | undefined): StopReason {
  return end?.choices[0]?.reason ?? StopReason.UNSPECIFIED;
}

/** Later counts replace earlier ones, field by field. */
export function mergeUsage(earlier: Usage | undefined, later: Usage): Usage {
  return earlier === undefined ? later : { ...earlier, ...later };
}

export function writeLogprob(entry: TokenLogprob): JsonObject {
  const top = entry.top.map(writeToken);
  return top.length === 0 ? writeToken(entry) : { ...writeToken(entry), top_logprobs: top };
}

function writeToken({ token, logprob, bytes }: TokenLogprob): JsonObject {
  return {
    token,
    logprob: Number.isFinite(logprob) ? logprob : unlikely,
    ...(bytes.length === 0 ? {} : { bytes: [...bytes] }),
  };
}

/** For a token that cannot be: JSON has no number for the logarithm of zero. */
const unlikely = -9999;

/** The bytes of a picture in base64; none when it is only an address. */
export function imageData({ source }: Media): string[] {
  return source.case === "data" ? [writeBase64(source.value)] : [];
}
