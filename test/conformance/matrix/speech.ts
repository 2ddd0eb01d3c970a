import { create } from "@bufbuild/protobuf";
import { choiceEnd, endEvent, reasoningEvent, startEvent, textEvent, toolCallEvent } from "@weir/dialect/events";
import { type GenerateEvent, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { type Usage, UsageSchema } from "@weir/gen/weir/common/v1/usage_pb";
import type { Tokens } from "../vendors/counts.ts";
import type { AskTool } from "./client.ts";

// What users ask and vendors say, in all cells alike.

export const question = "What is the weather in Köln, and what time is it?";
export const instructions = 'Answer in one sentence; say "unknown" when you do not know.';

const said = ["Grüße ", "👋 aus ", 'der "Ferne".\n', "Ende."];
export const spoken = said.join("");

export const spokenAgain = "Noch ein Gruß";

const thought = ["First the weather, ", "then the time."];
export const thoughts = thought.join("");

export const tools: readonly AskTool[] = [
  {
    name: "get_weather",
    description: "The weather of a city.",
    parameters: {
      type: "object",
      properties: { city: { type: "string", description: "Its name." }, days: { type: "integer" } },
      required: ["city"],
    },
  },
  { name: "get_time", description: "The time.", parameters: { type: "object", properties: {} } },
];

export const weatherCall = { name: "get_weather", input: { city: "Köln 🌧", days: 3 } };
export const timeCall = { name: "get_time", input: {} };

export const placeSchema = {
  type: "object",
  properties: { city: { type: "string" }, people: { type: "integer" } },
  required: ["city", "people"],
  additionalProperties: false,
};
export const place = { city: "Köln", people: 1_087_353 };

/** One grey pixel. */
export const pixel = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==",
  "base64",
);

/** Counts that every vendor and every library know. */
export const plainTokens: Tokens = { input: 31, output: 17 };

export function usageOf({ input, cached, written, output, reasoning }: Tokens): Usage {
  return create(UsageSchema, {
    inputTokens: input,
    outputTokens: output,
    ...(cached === undefined ? {} : { cachedInputTokens: cached }),
    ...(written === undefined ? {} : { cacheWriteTokens: written }),
    ...(reasoning === undefined ? {} : { reasoningTokens: reasoning }),
  });
}

/** A text. */
export function textReply(tokens = plainTokens, texts: readonly string[] = said): GenerateEvent[] {
  return reply(StopReason.END, tokens, () => texts.map((text) => textEvent(0, 0, text)));
}

/** Two texts, of which one is cut off. */
export function twoReplies(): GenerateEvent[] {
  const [start, ...first] = textReply().slice(0, -1);
  const second = [spokenAgain.slice(0, 4), spokenAgain.slice(4)].map((text) => textEvent(1, 0, text));
  const ends = [choiceEnd(0, StopReason.END, ""), choiceEnd(1, StopReason.LENGTH, "")];
  return [...(start === undefined ? [] : [start]), ...first, ...second, endEvent(ends, usageOf(plainTokens))];
}

/** The beginning of a text. */
export function textStart(): GenerateEvent[] {
  return textReply().slice(0, 3);
}

/** A text that is JSON of the schema. */
export function placeReply(): GenerateEvent[] {
  const json = JSON.stringify(place);
  return textReply(plainTokens, [json.slice(0, 9), json.slice(9)]);
}

/** Reasoning, then a text. */
export function reasoningReply(): GenerateEvent[] {
  return reply(StopReason.END, plainTokens, (part) => {
    const first = part();
    const second = part();
    return [
      ...thought.map((text) => reasoningEvent(0, first, { text })),
      ...said.map((text) => textEvent(0, second, text)),
    ];
  });
}

/** A text, then calls. */
export function callsReply(calls: readonly { readonly name: string; readonly input: object }[]): GenerateEvent[] {
  return reply(StopReason.TOOL_CALLS, plainTokens, (part) => {
    const first = part();
    return [
      ...said.map((text) => textEvent(0, first, text)),
      ...calls.flatMap(({ name, input }, index) => {
        const own = part();
        const json = JSON.stringify(input);
        return [
          toolCallEvent(0, own, { id: `call_${index}`, name }),
          ...pieces(json).map((text) => toolCallEvent(0, own, { arguments: text })),
        ];
      }),
    ];
  });
}

function pieces(json: string): string[] {
  const size = Math.ceil(json.length / 3);
  return [json.slice(0, size), json.slice(size, 2 * size), json.slice(2 * size)].filter((piece) => piece !== "");
}

function reply(
  reason: StopReason,
  tokens: Tokens,
  say: (part: () => number) => readonly GenerateEvent[],
): GenerateEvent[] {
  let parts = -1;
  replyCount += 1;
  return [
    startEvent({ id: `reply-of-the-vendor-${replyCount}`, model: "served-model", createTimeMs: 1_760_000_000_000 }),
    ...say(() => (parts += 1)),
    endEvent([choiceEnd(0, reason, "")], usageOf(tokens)),
  ];
}

// No vendor gives two replies one id, under which the gateway keeps some of them.
let replyCount = 0;
