import { reasoningEvent } from "@weir/dialect/events";
import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import { expect } from "vitest";
import { vendorKinds } from "../../vendors/kinds.ts";
import { provenAnswers, thinking } from "../../vendors/proven-answers.ts";
import { answered, type Feature, inBothForms } from "../outcome.ts";
import { jsonOf, partsOf, textsOf } from "../served.ts";
import {
  callsReply,
  instructions,
  pixel,
  question,
  spoken,
  textReply,
  timeCall,
  tools,
  weatherCall,
} from "../speech.ts";

// What the user sends arrives at the vendor.

const user = { kind: "user", text: question } as const;
const results = ["12 °C, rain", '{"time":"12:30"}'];

/** Results of two calls, sent with the reply that made them. */
export const toolResults: Feature = inBothForms(async (cell, stream) => {
  const prepared = cell.prepare({ kind: "answer", events: callsReply([weatherCall, timeCall]) });
  const first = await prepared.ask({ stream, turns: [user], tools });
  prepared.script({ kind: "answer", events: textReply() });
  const turns = [
    user,
    { kind: "reply", reply: first.reply } as const,
    {
      kind: "results",
      results: first.calls.map(({ id, name }, index) => ({ id, name, text: results[index] ?? "" })),
    } as const,
  ];
  const seen = await prepared.ask({ stream, turns, tools });
  expect(seen).toMatchObject({ text: spoken, end: cell.client.ends.text });

  const parts = partsOf(prepared.calls()[1]?.request);
  const [asked, ...said] = textsOf(parts);
  expect(asked).toBe(question);
  // Google's library keeps a stream's pieces apart.
  expect(said.join("")).toBe(spoken);
  const calls = parts.flatMap(({ content }) => (content.case === "toolCall" ? [content.value] : []));
  expect(calls.map(({ name, arguments: json }) => ({ name, input: jsonOf(json) }))).toEqual([weatherCall, timeCall]);
  const answers = parts.flatMap(({ content }) => (content.case === "toolResult" ? [content.value] : []));
  expect(answers.map(({ toolCallId }) => toolCallId)).toEqual(calls.map(({ id }) => id));
  expect(answers.map(({ parts: said }) => textsOf(said))).toEqual(results.map((text) => [text]));
  return answered(seen);
});

/** A picture as bytes. */
export const imageIn: Feature = async (cell) => {
  const prepared = cell.prepare({ kind: "answer", events: textReply() });
  const seen = await prepared.ask({ stream: false, turns: [{ ...user, png: pixel }] });
  expect(seen).toMatchObject({ text: spoken });
  const parts = partsOf(prepared.calls()[0]?.request);
  expect(textsOf(parts)).toEqual([question]);
  const images = parts.flatMap(({ content }) => (content.case === "image" ? [content.value] : []));
  expect(
    images.map(({ mediaType, source }) => [mediaType, source.case, Buffer.from(source.value as Uint8Array)]),
  ).toEqual([["image/png", "data", pixel]]);
  return answered(seen);
};

/** A mark for the vendor's prompt cache behind the instructions. */
export const cacheMark: Feature = async (cell) => {
  const prepared = cell.prepare({ kind: "answer", events: textReply() });
  const seen = await prepared.ask({ stream: false, system: instructions, turns: [user], cached: true });
  expect(seen).toMatchObject({ text: spoken });
  const parts = partsOf(prepared.calls()[0]?.request);
  expect(textsOf(parts)).toEqual([instructions, question]);
  const [first, second] = parts;
  expect(second?.cacheControl).toBeUndefined();
  return answered(seen, first?.cacheControl !== undefined);
};

/** What proves a vendor's reasoning, and its ids, returned with the result of a call. */
export const reasoningBack: Feature = inBothForms(async (cell, stream) => {
  const proven = provenAnswers[cell.vendor];
  const reading = proven && vendorKinds[cell.vendor].codec.readAnswer({ ...proven.body });
  if (reading === undefined) throw new Error("the vendor's answer cannot be read");
  const prepared = cell.prepare({ kind: "answer", events: reading.events.flatMap(inPieces) });
  const first = await prepared.ask({ stream, turns: [user], tools, effort: "high" });
  expect(first.reasoning).toBe(thinking);
  prepared.script({ kind: "answer", events: textReply() });
  const turns = [
    user,
    { kind: "reply", reply: first.reply } as const,
    { kind: "results", results: first.calls.map(({ id, name }) => ({ id, name, text: "12:30" })) } as const,
  ];
  const seen = await prepared.ask({ stream, turns, tools, effort: "high" });
  expect(seen).toMatchObject({ text: spoken });
  const body = prepared.calls()[1]?.body ?? "";
  return answered(
    seen,
    proven?.wanted.every((word) => body.includes(word)),
  );
});

/** A stream brings its reasoning piece by piece, and the proof last. */
function inPieces(event: GenerateEvent): GenerateEvent[] {
  const { kind } = event;
  if (kind.case !== "delta" || kind.value.content.case !== "reasoning") return [event];
  const { choice, part, content } = kind.value;
  const { text, id, signature, sealed } = content.value;
  return [
    reasoningEvent(choice, part, { id, text: text.slice(0, 9) }),
    reasoningEvent(choice, part, { text: text.slice(9) }),
    reasoningEvent(choice, part, { signature, sealed }),
  ];
}
