import { hash } from "node:crypto";
import { type ChoiceEnd, type GenerateEvent, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import type { UsageReading } from "../codec.ts";
import { choiceEnd, citationEvent, endEvent, startEvent, usageEvent } from "../events.ts";
import { isObject, type JsonObject } from "../json.ts";
import { type CandidateReader, createCandidateReader } from "./candidate-reader.ts";
import { holdDetails } from "./details.ts";
import { readCitations } from "./grounding.ts";
import { readStopReason } from "./stop-reason.ts";
import { readUsage } from "./usage.ts";

/** Reads the responses that one answer consists of: one, or one for each frame of a stream. */
export interface ResponseReader {
  /** Takes a response and appends its events. @returns false when it is malformed; nothing more may be read then */
  read(response: JsonObject, out: GenerateEvent[]): boolean;
  /**
   * Appends what follows when no response is to come: citations, and `end`.
   * @param isWhole whether the answer cannot have been cut
   * @returns false when the answer is not complete; nothing is appended then
   */
  finish(out: GenerateEvent[], isWhole: boolean): boolean;
  /** The counts of all responses so far. */
  readonly usage: UsageReading | undefined;
}

/** Members of a response that are read here, or are a field of their own. */
const ownMembers: ReadonlySet<string> = new Set(
  "candidates usageMetadata modelVersion responseId createTime".split(" "),
);

const choicesMax = 128;

export function createResponseReader(): ResponseReader {
  const candidates = new Map<number, CandidateReader>();
  let started = false;
  let replyId = "";
  let details: JsonObject = {};
  let usage: JsonObject | undefined;

  function read(response: JsonObject, out: GenerateEvent[]): boolean {
    const list = response["candidates"] ?? [];
    if (!Array.isArray(list)) return false;
    if (!started) start(response, out);
    readUsageMetadata(response["usageMetadata"], out);
    for (const name in response) {
      if (!ownMembers.has(name)) details = { ...details, [name]: response[name] };
    }
    for (let position = 0; position < list.length; position += 1) {
      const candidate: unknown = list[position];
      if (!isObject(candidate)) return false;
      const index = candidate["index"] ?? position; // proto JSON may leave a zero out
      if (typeof index !== "number" || !Number.isInteger(index) || index < 0 || index >= choicesMax) return false;
      if (!candidateOf(index).read(candidate, out)) return false;
    }
    return true;
  }

  function start({ responseId, modelVersion, createTime }: JsonObject, out: GenerateEvent[]): void {
    started = true;
    replyId = typeof responseId === "string" ? responseId : "";
    const time = typeof createTime === "string" ? Date.parse(createTime) : Number.NaN;
    out.push(
      startEvent({
        id: replyId,
        model: typeof modelVersion === "string" ? modelVersion : "",
        createTimeMs: Number.isNaN(time) ? undefined : time,
      }),
    );
  }

  /** Later counts replace earlier ones, one by one. The first ones are told at once, since they have the input. */
  function readUsageMetadata(json: unknown, out: GenerateEvent[]): void {
    if (!isObject(json)) return;
    if (usage !== undefined) {
      usage = { ...usage, ...json };
      return;
    }
    usage = json;
    const reading = readUsage(json);
    if (reading !== undefined) out.push(usageEvent(reading.usage));
  }

  function candidateOf(index: number): CandidateReader {
    const known = candidates.get(index);
    if (known !== undefined) return known;
    const candidate = createCandidateReader(index, (call) => makeCallId(replyId, index, call));
    candidates.set(index, candidate);
    return candidate;
  }

  function finish(out: GenerateEvent[], isWhole: boolean): boolean {
    const feedback = details["promptFeedback"];
    const blockReason = isObject(feedback) ? feedback["blockReason"] : undefined;
    const blocked = typeof blockReason === "string" ? blockReason : "";
    const finished = candidates.size > 0 && [...candidates.values()].every(({ finishReason }) => finishReason !== "");
    if (!finished && !isWhole && blocked === "") return false;
    const order = [...candidates].toSorted(([one], [other]) => one - other);
    for (const [index, candidate] of order) {
      candidate.finish(out);
      addCitations(index, candidate, out);
    }
    const ends = order.map(([index, candidate]) => endOf(index, candidate, blocked));
    // A prompt that was refused has no candidates.
    if (ends.length === 0 && blocked !== "") ends.push(choiceEnd(0, StopReason.CONTENT_FILTER, blocked));
    const held = holdDetails({
      response: details,
      candidates: new Map(order.map(([index, candidate]) => [index, candidate.details])),
    });
    out.push(endEvent(ends, readUsage(usage)?.usage, held));
    return true;
  }

  return {
    read,
    finish,
    get usage() {
      return readUsage(usage);
    },
  };
}

function endOf(index: number, { finishReason, hasCalls }: CandidateReader, blocked: string): ChoiceEnd {
  if (finishReason === "" && blocked !== "") return choiceEnd(index, StopReason.CONTENT_FILTER, blocked);
  return choiceEnd(index, readStopReason(finishReason, hasCalls), finishReason);
}

function addCitations(choice: number, { details, texts }: CandidateReader, out: GenerateEvent[]): void {
  const parts = [...texts.keys()];
  const found = readCitations(details["groundingMetadata"], details["citationMetadata"], [...texts.values()]);
  for (const { text, citation } of found) out.push(citationEvent(choice, parts[text] ?? 0, citation));
}

/**
 * An id for a call that Gemini gave none, of letters that every vendor allows: another one in each answer, but always the
 * same for the same call.
 */
function makeCallId(replyId: string, choice: number, call: number): string {
  return `call_${hash("sha256", `${replyId} ${choice} ${call}`).slice(0, 24)}`;
}
