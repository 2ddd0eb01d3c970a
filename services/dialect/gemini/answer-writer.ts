import type { GenerateEvent, ReplyDelta, ReplyStart, TokenLogprob } from "@weir/gen/weir/chat/v1/event_pb";
import type { Media } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { AnswerOptions } from "../codec.ts";
import { type JsonObject, writeJson } from "../json.ts";
import { writeLogprobs } from "./logprobs.ts";
import { createPartList, type PartList } from "./part-list.ts";
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

/** A part of an answer, put together from its deltas. */
type Gathered =
  | { readonly kind: "text"; text: string }
  | { readonly kind: "thought"; thought: GatheredThought }
  | { readonly kind: "call"; readonly call: GatheredCall }
  | { readonly kind: "image"; readonly image: Media }
  | { readonly kind: "audio"; readonly data: Uint8Array[]; transcript: string };

interface Choice {
  readonly parts: Map<number, Gathered>;
  readonly logprobs: TokenLogprob[];
  readonly citations: PartCitation[];
}

/** Writes the body of `generateContent`. */
export function writeAnswer(events: readonly GenerateEvent[], options: AnswerOptions): string {
  const choices = new Map<number, Choice>();
  let start: ReplyStart | undefined;
  let usage: Usage | undefined;
  const choiceOf = (index: number): Choice => {
    const known = choices.get(index);
    if (known !== undefined) return known;
    const choice: Choice = { parts: new Map(), logprobs: [], citations: [] };
    choices.set(index, choice);
    return choice;
  };
  for (const { kind } of events) {
    switch (kind.case) {
      case "start":
        start = kind.value;
        break;
      case "delta":
        gather(choiceOf(kind.value.choice), kind.value);
        break;
      case "citation": {
        const { choice, part, citation } = kind.value;
        if (citation !== undefined) choiceOf(choice).citations.push({ part, citation });
        break;
      }
      case "usage":
        usage = kind.value;
        break;
      case "end": {
        const contents = new Map([...choices].map(([index, choice]) => [index, writeContent(choice)]));
        const ending = writeEnding(kind.value, usage, new Map([...contents].map(([at, { facts }]) => [at, facts])));
        const candidates = ending.candidates.map((candidate) => ({
          ...(contents.get(candidate["index"] as number)?.members ?? emptyContent),
          ...candidate,
        }));
        return writeJson({
          ...(candidates.length === 0 ? {} : { candidates }),
          ...ending.response,
          ...writeOrigin(start, options),
        });
      }
      default: // warnings have no place in an answer of this dialect
    }
  }
  throw new Error("the events of a whole answer end with `end`");
}

function gather({ parts, logprobs }: Choice, { part, content, logprobs: more }: ReplyDelta): void {
  logprobs.push(...more);
  const before = parts.get(part);
  switch (content.case) {
    case "text":
    case "refusal":
      if (before?.kind === "text") before.text += content.value;
      else parts.set(part, { kind: "text", text: content.value });
      break;
    case "reasoning":
      if (before?.kind === "thought") before.thought = gatherThought(before.thought, content.value);
      else parts.set(part, { kind: "thought", thought: gatherThought(undefined, content.value) });
      break;
    case "toolCall":
      if (before?.kind === "call") gatherCall(before.call, content.value);
      else parts.set(part, { kind: "call", call: gatherCall(undefined, content.value) });
      break;
    case "audio":
      if (before?.kind === "audio") {
        before.data.push(content.value.data);
        before.transcript += content.value.transcript;
      } else parts.set(part, { kind: "audio", data: [content.value.data], transcript: content.value.transcript });
      break;
    case "image":
      parts.set(part, { kind: "image", image: content.value });
      break;
    default:
  }
}

// Clients that keep a chat leave out contents without parts.
const emptyContent: JsonObject = { content: { parts: [{ text: "" }], role: "model" } };

function writeContent({ parts, logprobs, citations }: Choice): {
  readonly members: JsonObject;
  readonly facts: ChoiceFacts;
} {
  const list = createPartList();
  const texts = new Map<number, string>();
  let hasBrokenCall = false;
  for (const [index, part] of [...parts].toSorted(([one], [other]) => one - other)) {
    if (part.kind === "text") texts.set(index, part.text);
    if (!addPart(list, part)) hasBrokenCall = true;
  }
  return {
    members: {
      ...(list.parts.length === 0 ? emptyContent : { content: { parts: list.parts, role: "model" } }),
      ...(logprobs.length === 0 ? {} : { logprobsResult: writeLogprobs(logprobs) }),
    },
    facts: { isSilent: parts.size === 0, hasBrokenCall, citations, texts },
  };
}

/** @returns false when the part is a call that had to be left out */
function addPart(list: PartList, part: Gathered): boolean {
  switch (part.kind) {
    case "text":
      list.add({ text: part.text }, part.text !== "");
      return true;
    case "thought":
      addThought(list, part.thought);
      return true;
    case "image":
      list.add(writeImage(part.image), true);
      return true;
    case "audio":
      list.add(writeAudio(Buffer.concat(part.data), part.transcript), true);
      return true;
    case "call": {
      const call = writeCall(part.call);
      if (call !== undefined) list.add(call);
      return call !== undefined;
    }
  }
}

function addThought(list: PartList, thought: GatheredThought): void {
  const proof = writeThoughtProof(thought);
  if (proof.kind === "part") list.add(proof.part);
  else if (proof.kind === "signature") list.sign(proof.thoughtSignature);
  else {
    const { kind: _, ...mark } = proof;
    if (thought.text !== "" || mark.thoughtSignature !== undefined) {
      list.add({ text: thought.text, thought: true, ...mark });
    }
  }
}
