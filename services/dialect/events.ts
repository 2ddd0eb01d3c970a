import type { JsonObject } from "@bufbuild/protobuf";
import type { Citation, Media } from "@weir/gen/weir/chat/v1/conversation_pb";
import type {
  ChoiceEnd,
  GenerateEvent,
  ReplyDelta,
  ReplyEnd,
  ReplyStart,
  StopReason,
  TokenLogprob,
  Warning,
} from "@weir/gen/weir/chat/v1/event_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import { noBytes } from "./bytes.ts";

// Literals instead of `create`: a stream makes one for each token, and these cost a tenth.

/** The reply begins. `createTimeMs`: milliseconds since 1970. */
export function startEvent(facts: {
  readonly id: string;
  readonly model: string;
  readonly createTimeMs?: number | undefined;
  readonly systemFingerprint?: string;
  readonly serviceTier?: string;
}): GenerateEvent {
  const value: ReplyStart = {
    $typeName: "weir.chat.v1.ReplyStart",
    id: facts.id,
    model: facts.model,
    systemFingerprint: facts.systemFingerprint ?? "",
    serviceTier: facts.serviceTier ?? "",
  };
  if (facts.createTimeMs !== undefined) value.createTime = timestamp(facts.createTimeMs);
  return { $typeName: "weir.chat.v1.GenerateEvent", kind: { case: "start", value } };
}

function timestamp(ms: number): NonNullable<ReplyStart["createTime"]> {
  const seconds = Math.floor(ms / 1_000);
  return {
    $typeName: "google.protobuf.Timestamp",
    seconds: BigInt(seconds),
    nanos: Math.round(ms - seconds * 1_000) * 1_000_000,
  };
}

/** Text to append to a part. */
export function textEvent(choice: number, part: number, text: string, logprobs: TokenLogprob[] = []): GenerateEvent {
  return deltaEvent(choice, part, { case: "text", value: text }, logprobs);
}

/** Refusal text to append to a part. */
export function refusalEvent(choice: number, part: number, text: string, logprobs: TokenLogprob[] = []): GenerateEvent {
  return deltaEvent(choice, part, { case: "refusal", value: text }, logprobs);
}

/** Reasoning to append to a part. */
export function reasoningEvent(
  choice: number,
  part: number,
  delta: {
    readonly text?: string;
    readonly signature?: Uint8Array;
    readonly sealed?: Uint8Array;
    readonly id?: string;
  },
): GenerateEvent {
  return deltaEvent(choice, part, {
    case: "reasoning",
    value: {
      $typeName: "weir.chat.v1.ReasoningDelta",
      text: delta.text ?? "",
      signature: delta.signature ?? noBytes,
      sealed: delta.sealed ?? noBytes,
      id: delta.id ?? "",
    },
  });
}

/** A tool call to begin (`id` and `name`) or to continue. */
export function toolCallEvent(
  choice: number,
  part: number,
  delta: {
    readonly id?: string;
    readonly name?: string;
    readonly arguments?: string;
    readonly signature?: Uint8Array;
  },
): GenerateEvent {
  return deltaEvent(choice, part, {
    case: "toolCall",
    value: {
      $typeName: "weir.chat.v1.ToolCallDelta",
      id: delta.id ?? "",
      name: delta.name ?? "",
      arguments: delta.arguments ?? "",
      signature: delta.signature ?? noBytes,
    },
  });
}

/** Sound to append to a part. `expireTimeMs`: milliseconds since 1970. */
export function audioEvent(
  choice: number,
  part: number,
  delta: {
    readonly id?: string;
    readonly data?: Uint8Array;
    readonly transcript?: string;
    readonly expireTimeMs?: number;
  },
): GenerateEvent {
  return deltaEvent(choice, part, {
    case: "audio",
    value: {
      $typeName: "weir.chat.v1.AudioDelta",
      id: delta.id ?? "",
      data: delta.data ?? noBytes,
      transcript: delta.transcript ?? "",
      ...(delta.expireTimeMs === undefined ? {} : { expireTime: timestamp(delta.expireTimeMs) }),
    },
  });
}

/** A generated picture, whole. */
export function imageEvent(choice: number, part: number, image: Media): GenerateEvent {
  return deltaEvent(choice, part, { case: "image", value: image });
}

function deltaEvent(
  choice: number,
  part: number,
  content: ReplyDelta["content"],
  logprobs: TokenLogprob[] = [],
): GenerateEvent {
  return {
    $typeName: "weir.chat.v1.GenerateEvent",
    kind: { case: "delta", value: { $typeName: "weir.chat.v1.ReplyDelta", choice, part, content, logprobs } },
  };
}

/** A source for text that came before. */
export function citationEvent(choice: number, part: number, citation: Citation): GenerateEvent {
  return {
    $typeName: "weir.chat.v1.GenerateEvent",
    kind: { case: "citation", value: { $typeName: "weir.chat.v1.ReplyCitation", choice, part, citation } },
  };
}

/** Counts so far. */
export function usageEvent(usage: Usage): GenerateEvent {
  return { $typeName: "weir.chat.v1.GenerateEvent", kind: { case: "usage", value: usage } };
}

/** Something the caller should know. */
export function warning(code: string, param: string, text: string): Warning {
  return { $typeName: "weir.chat.v1.Warning", code, param, text };
}

/** The warning for a hint that a target cannot express and that was left out. */
export function dropped(param: string, dialect: string): Warning {
  return warning("field_dropped", param, `The target's dialect, ${dialect}, has no such field; it was left out.`);
}

/** The warning for what a target is told in another way than it was asked for. @param text one sentence: what became of it */
export function approximated(param: string, text: string): Warning {
  return warning("field_approximated", param, text);
}

/** Why one choice ended. */
export function choiceEnd(choice: number, reason: StopReason, rawReason: string, stopSequence = ""): ChoiceEnd {
  return { $typeName: "weir.chat.v1.ChoiceEnd", choice, reason, rawReason, stopSequence };
}

/** The reply is complete. */
export function endEvent(choices: ChoiceEnd[], usage: Usage | undefined, details?: JsonObject): GenerateEvent {
  const value: ReplyEnd = { $typeName: "weir.chat.v1.ReplyEnd", choices };
  if (usage !== undefined) value.usage = usage;
  if (details !== undefined) value.details = details;
  return { $typeName: "weir.chat.v1.GenerateEvent", kind: { case: "end", value } };
}
