import { timestampMs } from "@bufbuild/protobuf/wkt";
import type {
  AudioDelta,
  ChoiceEnd,
  GenerateEvent,
  ReasoningDelta,
  ReplyCitation,
  ReplyDelta,
  ReplyEnd,
  TokenLogprob,
  ToolCallDelta,
} from "@weir/gen/weir/chat/v1/event_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import { writeBase64 } from "../base64.ts";
import { noBytes } from "../bytes.ts";
import type { AnswerOptions, Frame, FrameWriter } from "../codec.ts";
import type { JsonObject } from "../json.ts";
import { writeLogprobs } from "../openai/logprobs.ts";
import { writeStopReason } from "../openai/stop-reason.ts";
import { writeUsage } from "../openai/usage.ts";
import { characterCount, writeAnnotation } from "./citations.ts";
import { writeReasoningDetails } from "./reasoning-details.ts";
import { readReplyForm, writeImage, writeReplyHead } from "./reply-form.ts";
import { signatureMember } from "./write-messages.ts";

/** A choice that is being written. */
interface Choice {
  /** Whether its first chunk, which carries the role, was written. */
  begun: boolean;
  /** JSON before and after the members of a delta. */
  readonly open: string;
  readonly close: string;
  /** Characters of text so far, and before each of its text parts. */
  characters: number;
  readonly textOffsets: Map<number, number>;
  readonly calls: Map<number, Call>;
  /** Its reasoning so far, by part; the nth is the nth of `reasoning_details`. */
  readonly reasoning: Map<number, Thought>;
  /** The reasoning to which the last text of any belonged. */
  thought: Thought | undefined;
  /** Held back until the end, as OpenAI does: its client keeps the annotations of one chunk only. */
  readonly annotations: JsonObject[];
  /** Up to two bytes of sound that wait for a third: clients join the base64 of all chunks as text. */
  sound: Uint8Array;
}

/** Reasoning that is being written. */
interface Thought {
  readonly index: number;
  text: string;
  signature: Uint8Array;
  sealed: Uint8Array;
  id: string;
}

/** How a call is written: in `tool_calls`, with its place there, or as the old `function_call`. */
type Call = { readonly kind: "function" | "custom"; readonly index: number } | { readonly kind: "legacy" };

const doneFrame: Frame = { type: "", data: "[DONE]" };
const noFrames: readonly Frame[] = [];

/**
 * Writes a streamed answer as `chat.completion.chunk` objects. Reasoning is written twice: as it comes in `reasoning_content`
 * for clients that show it, and whole, with its proofs, in `reasoning_details` of one chunk at the end of its choice for those
 * that send it back, since OpenAI's client keeps of members that it does not know those of one chunk only. An entry without
 * text tells which reasoning begins. Warnings are not for this stream.
 */
export function createFrameWriter(options: AnswerOptions): FrameWriter {
  const { customTools, legacy } = readReplyForm(options.request);
  const tail = options.includeUsage ? ',"usage":null}' : "}";
  const choices = new Map<number, Choice>();
  let head: string | undefined;
  let usage: Usage | undefined;

  function write(event: GenerateEvent): readonly Frame[] {
    const { kind } = event;
    switch (kind.case) {
      case "start":
        head = chunkHead(writeReplyHead(kind.value, options));
        return noFrames;
      case "delta":
        return writeDelta(kind.value);
      case "citation":
        holdCitation(kind.value);
        return noFrames;
      case "usage":
        usage = { ...usage, ...kind.value };
        return noFrames;
      case "end":
        return writeEnd(kind.value);
      default:
        return noFrames;
    }
  }

  function knownHead(): string {
    return (head ??= chunkHead(writeReplyHead(undefined, options)));
  }

  function choiceOf(index: number): Choice {
    const known = choices.get(index);
    if (known !== undefined) return known;
    const choice: Choice = {
      begun: false,
      open: `${knownHead()}{"index":${index},"delta":{`,
      close: `},"logprobs":null,"finish_reason":null}]${tail}`,
      characters: 0,
      textOffsets: new Map(),
      calls: new Map(),
      reasoning: new Map(),
      thought: undefined,
      annotations: [],
      sound: noBytes,
    };
    choices.set(index, choice);
    return choice;
  }

  /** The frames for the members of a delta, after the one with the role where that is still to come. */
  function frames(choice: Choice, members: string, close = choice.close): readonly Frame[] {
    const frame: Frame = { type: "", data: choice.open + members + close };
    if (choice.begun) return [frame];
    choice.begun = true;
    const role = `"role":"assistant","content":"","refusal":null`;
    return [{ type: "", data: choice.open + role + choice.close }, frame];
  }

  function writeDelta(delta: ReplyDelta): readonly Frame[] {
    const choice = choiceOf(delta.choice);
    const { content, logprobs } = delta;
    switch (content.case) {
      case "text":
        return writeText(choice, delta.part, content.value, logprobs);
      case "refusal":
        return writeRefusal(choice, content.value, logprobs);
      case "reasoning":
        return writeReasoning(choice, delta.part, content.value);
      case "toolCall":
        return frames(choice, writeCall(choice, delta.part, content.value));
      case "audio":
        return writeAudio(choice, content.value);
      case "image": {
        const image = writeImage(content.value);
        return image === undefined ? noFrames : frames(choice, `"images":[${JSON.stringify(image)}]`);
      }
      default:
        return noFrames;
    }
  }

  function writeText(choice: Choice, part: number, text: string, logprobs: TokenLogprob[]): readonly Frame[] {
    if (text === "" && logprobs.length === 0) return noFrames;
    if (!choice.textOffsets.has(part)) choice.textOffsets.set(part, choice.characters);
    choice.characters += characterCount(text);
    const close = logprobs.length === 0 ? choice.close : closeWith({ content: writeLogprobs(logprobs), refusal: null });
    return frames(choice, `"content":${JSON.stringify(text)}`, close);
  }

  function writeRefusal(choice: Choice, text: string, logprobs: TokenLogprob[]): readonly Frame[] {
    if (text === "" && logprobs.length === 0) return noFrames;
    const close = logprobs.length === 0 ? choice.close : closeWith({ content: null, refusal: writeLogprobs(logprobs) });
    return frames(choice, `"refusal":${JSON.stringify(text)}`, close);
  }

  function closeWith(logprobs: JsonObject): string {
    return `},"logprobs":${JSON.stringify(logprobs)},"finish_reason":null}]${tail}`;
  }

  function writeReasoning(choice: Choice, part: number, delta: ReasoningDelta): readonly Frame[] {
    const { text, signature, sealed, id } = delta;
    if (text === "" && signature.length === 0 && sealed.length === 0 && id === "") return noFrames;
    const isNew = !choice.reasoning.has(part);
    const thought = thoughtOf(choice, part);
    thought.text += text;
    if (signature.length > 0) thought.signature = signature;
    if (sealed.length > 0) thought.sealed = sealed;
    if (id !== "") thought.id = id;
    const members = text === "" ? [] : [`"reasoning_content":${JSON.stringify(text)}`];
    if (isNew || (text !== "" && choice.thought !== thought)) {
      const beginning = writeReasoningDetails({ ...noReasoning, id: thought.id }, thought.index);
      members.push(`"reasoning_details":${JSON.stringify(beginning)}`);
    }
    if (text !== "") choice.thought = thought;
    return members.length === 0 ? noFrames : frames(choice, members.join());
  }

  function thoughtOf(choice: Choice, part: number): Thought {
    const known = choice.reasoning.get(part);
    if (known !== undefined) return known;
    const thought: Thought = { ...noReasoning, index: choice.reasoning.size };
    choice.reasoning.set(part, thought);
    return thought;
  }

  function writeCall(choice: Choice, part: number, delta: ToolCallDelta): string {
    const known = choice.calls.get(part);
    const call = known ?? beginCall(choice, part, delta.name);
    const text = JSON.stringify(delta.arguments);
    const name = known === undefined ? `"name":${JSON.stringify(delta.name)},` : "";
    if (call.kind === "legacy") return `"function_call":{${name}"arguments":${text}}`;
    const id = known === undefined ? `"id":${JSON.stringify(delta.id)},"type":"${call.kind}",` : "";
    const called =
      call.kind === "custom" ? `"custom":{${name}"input":${text}}` : `"function":{${name}"arguments":${text}}`;
    const signature =
      delta.signature.length === 0 ? "" : `,${JSON.stringify(signatureMember(delta.signature)).slice(1, -1)}`;
    return `"tool_calls":[{"index":${call.index},${id}${called}${signature}}]`;
  }

  /** The old form holds one call; more of them are written the new way, so that they are not lost. */
  function beginCall(choice: Choice, part: number, name: string): Call {
    const before = choice.calls.size;
    const call: Call =
      legacy && before === 0
        ? { kind: "legacy" }
        : { kind: customTools.has(name) ? "custom" : "function", index: legacy ? before - 1 : before };
    choice.calls.set(part, call);
    return call;
  }

  function writeAudio(choice: Choice, { id, data, transcript, expireTime }: AudioDelta): readonly Frame[] {
    const bytes = choice.sound.length === 0 ? data : Buffer.concat([choice.sound, data]);
    const end = bytes.length - (bytes.length % 3);
    choice.sound = bytes.subarray(end);
    const audio = {
      ...(id !== "" && { id }),
      ...(end > 0 && { data: writeBase64(bytes.subarray(0, end)) }),
      ...(transcript !== "" && { transcript }),
      ...(expireTime !== undefined && { expires_at: Math.floor(timestampMs(expireTime) / 1_000) }),
    };
    return frames(choice, `"audio":${JSON.stringify(audio)}`);
  }

  function holdCitation({ choice: index, part, citation }: ReplyCitation): void {
    const choice = choiceOf(index);
    const annotation = citation && writeAnnotation(citation, choice.textOffsets.get(part) ?? 0);
    if (annotation !== undefined) choice.annotations.push(annotation);
  }

  function writeEnd(end: ReplyEnd): readonly Frame[] {
    const last = end.choices.flatMap((choiceEnd) => writeChoiceEnd(choiceEnd));
    const known = end.usage === undefined ? usage : { ...usage, ...end.usage };
    if (options.includeUsage && known !== undefined) {
      last.push({ type: "", data: `${knownHead()}],"usage":${JSON.stringify(writeUsage(known))}}` });
    }
    last.push(doneFrame);
    return last;
  }

  function writeChoiceEnd({ choice: index, reason }: ChoiceEnd): readonly Frame[] {
    const choice = choiceOf(index);
    const last: Frame[] = [];
    if (choice.sound.length > 0) last.push(...frames(choice, `"audio":{"data":"${writeBase64(choice.sound)}"}`));
    if (choice.reasoning.size > 0) {
      const details = [...choice.reasoning.values()].flatMap((thought) =>
        writeReasoningDetails(thought, thought.index),
      );
      last.push(...frames(choice, `"reasoning_details":${JSON.stringify(details)}`));
    }
    if (choice.annotations.length > 0) {
      last.push(...frames(choice, `"annotations":${JSON.stringify(choice.annotations)}`));
    }
    const word = writeStopReason(reason, legacy);
    last.push(...frames(choice, "", `},"logprobs":null,"finish_reason":"${word}"}]${tail}`));
    return last;
  }

  return { write };
}

/** JSON of a chunk up to its first choice. */
function chunkHead({ id, created, ...rest }: ReturnType<typeof writeReplyHead>): string {
  const chunk = JSON.stringify({ id, object: "chat.completion.chunk", created, ...rest });
  return `${chunk.slice(0, -1)},"choices":[`;
}

const noReasoning = { text: "", signature: noBytes, sealed: noBytes, id: "" };
