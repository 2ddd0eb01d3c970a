import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { Citation } from "@weir/gen/weir/chat/v1/conversation_pb";
import { type ChoiceEnd, type ReplyEnd, type ReplyStart, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { AnswerOptions } from "../codec.ts";
import { isObject, type JsonObject } from "../json.ts";
import { type Details, heldDetails } from "./details.ts";
import { writeGrounding } from "./grounding.ts";
import { writeFinishReason } from "./stop-reason.ts";
import { writeUsage } from "./usage.ts";

/** Members that every response of an answer has. */
export function writeOrigin(start: ReplyStart | undefined, options: AnswerOptions): JsonObject {
  const time = start?.createTime === undefined ? options.createTimeMs : timestampMs(start.createTime);
  return {
    modelVersion: start?.model || options.model,
    createTime: new Date(time).toISOString(),
    responseId: start?.id || options.id,
  };
}

/** A source for a span of a text part. */
export interface PartCitation {
  readonly part: number;
  readonly citation: Citation;
}

/** What was said of one choice, as far as its end needs it. */
export interface ChoiceFacts {
  /** Whether the model said anything. */
  readonly isSilent: boolean;
  /** Whether a call was left out, since its arguments are no JSON object. */
  readonly hasBrokenCall: boolean;
  readonly citations: readonly PartCitation[];
  /** Its texts by their part. */
  readonly texts: ReadonlyMap<number, string>;
}

export const noFacts: ChoiceFacts = { isSilent: true, hasBrokenCall: false, citations: [], texts: new Map() };

/** The last response of an answer. */
export interface ReplyEnding {
  /** Members of the candidate of each choice that ended, `index` first; empty when the prompt was refused. */
  readonly candidates: readonly JsonObject[];
  /** Members of the response besides candidates, `usageMetadata` first. */
  readonly response: JsonObject;
}

/** @param facts what was said of each choice */
export function writeEnding(
  end: ReplyEnd,
  lastUsage: Usage | undefined,
  facts: ReadonlyMap<number, ChoiceFacts>,
): ReplyEnding {
  const usage = end.usage ?? lastUsage;
  const details = heldDetails(end.details);
  const isRefused = isBlocked(details) && [...facts.values()].every(({ isSilent }) => isSilent);
  return {
    candidates: isRefused ? [] : end.choices.map((choice) => writeCandidateEnd(choice, facts, details)),
    response: { ...(usage === undefined ? {} : { usageMetadata: writeUsage(usage) }), ...details.response },
  };
}

function isBlocked({ response }: Details): boolean {
  const feedback = response["promptFeedback"];
  return isObject(feedback) && typeof feedback["blockReason"] === "string";
}

function writeCandidateEnd(
  { choice, reason, rawReason }: ChoiceEnd,
  facts: ReadonlyMap<number, ChoiceFacts>,
  details: Details,
): JsonObject {
  const { hasBrokenCall, citations, texts } = facts.get(choice) ?? noFacts;
  const own = details.candidates.get(choice) ?? {};
  const isComplete = reason !== StopReason.LENGTH && reason !== StopReason.CONTENT_FILTER;
  return {
    index: choice,
    finishReason: hasBrokenCall && isComplete ? "MALFORMED_FUNCTION_CALL" : writeFinishReason(reason, rawReason),
    // Gemini's own metadata, from which the citations were read, say more than they do.
    ...(citations.length > 0 && own["groundingMetadata"] === undefined && own["citationMetadata"] === undefined
      ? { groundingMetadata: writeGrounding(citations, texts) }
      : {}),
    ...own,
  };
}
