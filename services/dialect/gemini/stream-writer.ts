import type { GenerateEvent, ReplyDelta, ReplyEnd, TokenLogprob } from "@weir/gen/weir/chat/v1/event_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import type { AnswerOptions, Frame, FrameWriter } from "../codec.ts";
import { type JsonObject, writeJson } from "../json.ts";
import { writeLogprobs } from "./logprobs.ts";
import { type ChoiceFacts, type PartCitation, writeEnding, writeOrigin } from "./reply-facts.ts";
import {
  gatherCall,
  type GatheredCall,
  type GatheredThought,
  gatherThought,
  writeAudio,
  writeCall,
  writeImage,
  writeThoughtProof,
} from "./reply-parts.ts";

/** What a choice has said, and what of it is held back. */
interface Choice extends ChoiceFacts {
  isSilent: boolean;
  hasBrokenCall: boolean;
  readonly citations: PartCitation[];
  readonly texts: Map<number, string>;
  /** Calls whose arguments are not known to be whole, by their part. */
  readonly calls: Map<number, GatheredCall>;
  /** Reasoning whose proof is to come. */
  thought: { readonly part: number; gathered: GatheredThought } | undefined;
  /** The last part whose calls were written. */
  written: number;
}

/**
 * Creates the writer of a stream: a response for each delta, and a last one with the ends and the usage. Calls are whole in
 * this dialect, so that they are held until another kind of part begins; the proof of reasoning follows its text.
 */
export function createFrameWriter(options: AnswerOptions): FrameWriter {
  const choices = new Map<number, Choice>();
  let origin = writeOrigin(undefined, options);
  let tail = membersOf(origin);
  let usage: Usage | undefined;

  function write({ kind }: GenerateEvent): readonly Frame[] {
    switch (kind.case) {
      case "delta":
        return writeDelta(kind.value);
      case "start":
        origin = writeOrigin(kind.value, options);
        tail = membersOf(origin);
        return noFrames;
      case "citation": {
        const { choice, part, citation } = kind.value;
        if (citation !== undefined) choiceOf(choice).citations.push({ part, citation });
        return noFrames;
      }
      case "usage":
        usage = kind.value;
        return noFrames;
      case "end":
        return writeEnd(kind.value);
      default: // warnings have no place in an answer of this dialect
        return noFrames;
    }
  }

  function writeDelta({ choice: index, part, content, logprobs }: ReplyDelta): readonly Frame[] {
    const choice = choiceOf(index);
    choice.isSilent = false;
    const frames: Frame[] = [];
    if (choice.thought !== undefined && choice.thought.part !== part) endThought(index, choice, frames);
    if (choice.calls.size > 0 && content.case !== "toolCall") endCalls(index, choice, frames);
    switch (content.case) {
      case "text":
      case "refusal":
        if (content.value === "" && logprobs.length === 0) break;
        choice.texts.set(part, (choice.texts.get(part) ?? "") + content.value);
        frames.push(
          logprobs.length === 0 ? textFrame(index, content.value) : scoredFrame(index, content.value, logprobs),
        );
        break;
      case "reasoning": {
        const gathered = gatherThought(choice.thought?.gathered, content.value);
        choice.thought = { part, gathered };
        if (content.value.text !== "") frames.push(partFrame(index, { text: content.value.text, thought: true }));
        break;
      }
      case "toolCall":
        if (part <= choice.written) throw new WeirError(ErrorReason.INTERNAL); // it has gone without this piece
        choice.calls.set(part, gatherCall(choice.calls.get(part), content.value));
        break;
      case "audio":
        if (content.value.data.length === 0 && content.value.transcript === "") break;
        frames.push(partFrame(index, writeAudio(content.value.data, content.value.transcript)));
        break;
      case "image":
        frames.push(partFrame(index, writeImage(content.value)));
        break;
      default:
    }
    return frames;
  }

  function endThought(index: number, choice: Choice, frames: Frame[]): void {
    if (choice.thought === undefined) return;
    const proof = writeThoughtProof(choice.thought.gathered);
    choice.thought = undefined;
    if (proof.kind === "part") frames.push(partFrame(index, proof.part));
    else if (proof.thoughtSignature !== undefined) {
      const { kind, thoughtSignature } = proof;
      const isThought = kind === "mark" ? { thought: true } : {};
      frames.push(partFrame(index, { text: "", ...isThought, thoughtSignature }));
    }
  }

  function endCalls(index: number, choice: Choice, frames: Frame[]): void {
    for (const [part, call] of [...choice.calls].toSorted(([one], [other]) => one - other)) {
      const written = writeCall(call);
      if (written === undefined) choice.hasBrokenCall = true;
      else frames.push(partFrame(index, written));
      choice.written = Math.max(choice.written, part);
    }
    choice.calls.clear();
  }

  function writeEnd(end: ReplyEnd): readonly Frame[] {
    const frames: Frame[] = [];
    for (const [index, choice] of choices) {
      endThought(index, choice, frames);
      endCalls(index, choice, frames);
    }
    const { candidates, response } = writeEnding(end, usage, choices);
    // An empty text, since clients that keep a chat take a response without parts for a broken one.
    const content = { parts: [{ text: "" }], role: "model" };
    frames.push(
      frameOf({
        ...(candidates.length === 0 ? {} : { candidates: candidates.map((candidate) => ({ content, ...candidate })) }),
        ...response,
        ...origin,
      }),
    );
    return frames;
  }

  function choiceOf(index: number): Choice {
    const known = choices.get(index);
    if (known !== undefined) return known;
    const choice: Choice = {
      isSilent: true,
      hasBrokenCall: false,
      citations: [],
      texts: new Map(),
      calls: new Map(),
      thought: undefined,
      written: -1,
    };
    choices.set(index, choice);
    return choice;
  }

  function textFrame(index: number, text: string): Frame {
    return { type: "", data: `${textHead}${JSON.stringify(text)}${textEnd}${index}}]${tail}` };
  }

  function scoredFrame(index: number, text: string, logprobs: readonly TokenLogprob[]): Frame {
    const content = { parts: [{ text }], role: "model" };
    return frameOf({ candidates: [{ content, index, logprobsResult: writeLogprobs(logprobs) }], ...origin });
  }

  function partFrame(index: number, part: JsonObject): Frame {
    return frameOf({ candidates: [{ content: { parts: [part], role: "model" }, index }], ...origin });
  }

  return { write };
}

const noFrames: readonly Frame[] = [];

// A text is written by the thousand; all but the text is constant.
const textHead = '{"candidates":[{"content":{"parts":[{"text":';
const textEnd = '}],"role":"model"},"index":';

function frameOf(response: JsonObject): Frame {
  return { type: "", data: writeJson(response) };
}

/** The members of an object that others precede, and the end of the object. */
function membersOf(object: JsonObject): string {
  return `,${JSON.stringify(object).slice(1)}`;
}
