import { timestampMs } from "@bufbuild/protobuf/wkt";
import type {
  AudioDelta,
  ChoiceEnd,
  GenerateEvent,
  ReplyDelta,
  ReplyStart,
  TokenLogprob,
} from "@weir/gen/weir/chat/v1/event_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import { writeBase64 } from "../base64.ts";
import { noBytes } from "../bytes.ts";
import type { AnswerOptions } from "../codec.ts";
import type { JsonObject } from "../json.ts";
import { writeLogprobs } from "../openai/logprobs.ts";
import { writeStopReason } from "../openai/stop-reason.ts";
import { writeUsage } from "../openai/usage.ts";
import { characterCount, writeAnnotation } from "./citations.ts";
import { type ReasoningPiece, writeReasoningDetails } from "./reasoning-details.ts";
import { readReplyForm, type ReplyForm, writeImage, writeReplyHead } from "./reply-form.ts";
import { signatureMember } from "./write-messages.ts";

/** What a choice says in all, each kind in the order in which it came. */
interface Reply {
  /** By part, as reasoning and calls are. */
  readonly texts: Map<number, string>;
  readonly reasoning: Map<number, ReasoningPiece>;
  readonly calls: Map<number, Call>;
  refusal: string | null;
  audio: Audio | undefined;
  readonly images: JsonObject[];
  readonly citations: { readonly part: number; readonly citation: Parameters<typeof writeAnnotation>[0] }[];
  readonly textLogprobs: TokenLogprob[];
  readonly refusalLogprobs: TokenLogprob[];
}

interface Call {
  readonly id: string;
  readonly name: string;
  readonly arguments: string;
  readonly signature: Uint8Array;
}

interface Audio {
  id: string;
  readonly data: Uint8Array[];
  transcript: string;
  expiresAt: number;
}

/** Writes a whole answer as a `chat.completion`. Warnings are not for this body. */
export function writeAnswer(events: readonly GenerateEvent[], options: AnswerOptions): string {
  const replies = new Map<number, Reply>();
  const form = readReplyForm(options.request);
  let start: ReplyStart | undefined;
  let ends: readonly ChoiceEnd[] = [];
  let usage: Usage | undefined;
  for (const { kind } of events) {
    switch (kind.case) {
      case "start":
        start = kind.value;
        break;
      case "delta":
        addDelta(replyOf(replies, kind.value.choice), kind.value);
        break;
      case "citation": {
        const { choice, part, citation } = kind.value;
        if (citation !== undefined) replyOf(replies, choice).citations.push({ part, citation });
        break;
      }
      case "usage":
        usage = { ...usage, ...kind.value };
        break;
      case "end":
        ends = kind.value.choices;
        if (kind.value.usage !== undefined) usage = { ...usage, ...kind.value.usage };
        break;
      default:
    }
  }
  const { id, ...head } = writeReplyHead(start, options);
  return JSON.stringify({
    id,
    object: "chat.completion",
    ...head,
    choices: ends.map((end) => writeChoice(end, replyOf(replies, end.choice), form)),
    ...(usage !== undefined && { usage: writeUsage(usage) }),
  });
}

function replyOf(replies: Map<number, Reply>, choice: number): Reply {
  const known = replies.get(choice);
  if (known !== undefined) return known;
  const reply: Reply = {
    texts: new Map(),
    reasoning: new Map(),
    calls: new Map(),
    refusal: null,
    audio: undefined,
    images: [],
    citations: [],
    textLogprobs: [],
    refusalLogprobs: [],
  };
  replies.set(choice, reply);
  return reply;
}

function addDelta(reply: Reply, { part, content, logprobs }: ReplyDelta): void {
  switch (content.case) {
    case "text":
      reply.texts.set(part, (reply.texts.get(part) ?? "") + content.value);
      reply.textLogprobs.push(...logprobs);
      break;
    case "refusal":
      reply.refusal = (reply.refusal ?? "") + content.value;
      reply.refusalLogprobs.push(...logprobs);
      break;
    case "reasoning": {
      const { text, signature, sealed, id } = content.value;
      const before = reply.reasoning.get(part);
      reply.reasoning.set(part, {
        text: (before?.text ?? "") + text,
        signature: signature.length > 0 ? signature : (before?.signature ?? noBytes),
        sealed: sealed.length > 0 ? sealed : (before?.sealed ?? noBytes),
        id: before === undefined || before.id === "" ? id : before.id,
      });
      break;
    }
    case "toolCall": {
      const { id, name, arguments: text, signature } = content.value;
      const before = reply.calls.get(part);
      reply.calls.set(part, {
        id: before?.id ?? id,
        name: before?.name ?? name,
        arguments: (before?.arguments ?? "") + text,
        signature: signature.length > 0 ? signature : (before?.signature ?? noBytes),
      });
      break;
    }
    case "audio":
      reply.audio = addAudio(reply.audio, content.value);
      break;
    case "image": {
      const image = writeImage(content.value);
      if (image !== undefined) reply.images.push(image);
      break;
    }
    default:
  }
}

function addAudio(before: Audio | undefined, { id, data, transcript, expireTime }: AudioDelta): Audio {
  const audio = before ?? { id: "", data: [], transcript: "", expiresAt: 0 };
  if (id !== "") audio.id = id;
  audio.data.push(data);
  audio.transcript += transcript;
  if (expireTime !== undefined) audio.expiresAt = Math.floor(timestampMs(expireTime) / 1_000);
  return audio;
}

function writeChoice({ choice, reason }: ChoiceEnd, reply: Reply, form: ReplyForm): JsonObject {
  const { textLogprobs, refusalLogprobs } = reply;
  const known = textLogprobs.length + refusalLogprobs.length > 0;
  return {
    index: choice,
    message: writeMessage(reply, form),
    logprobs: known ? { content: listOrNull(textLogprobs), refusal: listOrNull(refusalLogprobs) } : null,
    finish_reason: writeStopReason(reason, form.legacy),
  };
}

function listOrNull(logprobs: readonly TokenLogprob[]): JsonObject[] | null {
  return logprobs.length === 0 ? null : writeLogprobs(logprobs);
}

function writeMessage(reply: Reply, form: ReplyForm): JsonObject {
  const { refusal, audio, images } = reply;
  const silent = reply.texts.size === 0 && (reply.calls.size > 0 || refusal !== null || audio !== undefined);
  const pieces = [...reply.reasoning.values()];
  const reasoning = pieces.map((piece) => piece.text).join("");
  const annotations = writeAnnotations(reply);
  return {
    role: "assistant",
    content: silent ? null : [...reply.texts.values()].join(""),
    refusal,
    ...(reasoning !== "" && { reasoning_content: reasoning }),
    ...(pieces.length > 0 && { reasoning_details: pieces.flatMap(writeReasoningDetails) }),
    ...(annotations.length > 0 && { annotations }),
    ...(audio && { audio: writeAudio(audio) }),
    ...(images.length > 0 && { images }),
    ...writeCalls([...reply.calls.values()], form),
  };
}

function writeAnnotations({ texts, citations }: Reply): JsonObject[] {
  const offsets = new Map<number, number>();
  let characters = 0;
  for (const [part, text] of texts) {
    offsets.set(part, characters);
    characters += characterCount(text);
  }
  return citations
    .map(({ part, citation }) => writeAnnotation(citation, offsets.get(part) ?? 0))
    .filter((annotation) => annotation !== undefined);
}

function writeAudio({ id, data, transcript, expiresAt }: Audio): JsonObject {
  return { id, data: writeBase64(Buffer.concat(data)), expires_at: expiresAt, transcript };
}

/** Calls; to a client of `functions` the first one as `function_call`, which cannot hold more. */
function writeCalls(calls: readonly Call[], { customTools, legacy }: ReplyForm): JsonObject {
  const [first, ...others] = calls;
  const list = legacy ? others : calls;
  const tools = list.map((call) => {
    const { id, name, arguments: text } = call;
    const signature = call.signature.length > 0 && signatureMember(call.signature);
    if (customTools.has(name)) return { id, type: "custom", custom: { name, input: text }, ...signature };
    return { id, type: "function", function: { name, arguments: text }, ...signature };
  });
  return {
    ...(legacy && first && { function_call: { name: first.name, arguments: first.arguments } }),
    ...(tools.length > 0 && { tool_calls: tools }),
  };
}
