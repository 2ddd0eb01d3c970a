import { endEvent, startEvent, textEvent } from "@weir/dialect/events";
import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { type GenerateEvent, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { samplingOf, turnsOf } from "./conversation.ts";
import type { LoadedModel, Prompt } from "./loaded-model.ts";
import { createStopText } from "./stop-text.ts";

/**
 * The prompt of a request.
 * @throws WeirError CONTEXT_TOO_LONG when it leaves no room for a reply; TARGET_UNSUPPORTED
 */
export function promptOf(model: LoadedModel, request: GenerateRequest): Prompt {
  const turns = turnsOf(request);
  refuseEndless(
    turns.reduce((sum, { text }) => sum + text.length, 0),
    model.contextTokens,
  );
  const prompt = model.prompt(turns);
  if (prompt.tokens.length >= model.contextTokens) throw new WeirError(ErrorReason.CONTEXT_TOO_LONG);
  return prompt;
}

/** No token stands for so many. */
const charactersPerToken = 256;

/**
 * Text is made into tokens between other work of the event loop, so that what cannot fit is refused before.
 * @throws WeirError CONTEXT_TOO_LONG
 */
export function refuseEndless(characters: number, contextTokens: number): void {
  if (characters > contextTokens * charactersPerToken) throw new WeirError(ErrorReason.CONTEXT_TOO_LONG);
}

export interface ReplyFacts {
  /** Id of the answer. */
  readonly id: string;
  /** Milliseconds since 1970. */
  readonly createTimeMs: number;
}

/**
 * Generates the reply to a request. Usage is exact: every token of the prompt, and every token that was generated, the last one
 * and those of a stop sequence included.
 * @throws WeirError CONTEXT_TOO_LONG, INVALID_REQUEST, TARGET_UNSUPPORTED; CallCancelled after `signal` fired
 */
export async function* reply(
  model: LoadedModel,
  request: GenerateRequest,
  { id, createTimeMs }: ReplyFacts,
  signal: AbortSignal,
): AsyncGenerator<GenerateEvent> {
  const prompt = promptOf(model, request);
  const grammar = await model.grammar(request.outputFormat);
  yield startEvent({ id, model: request.model, createTimeMs });

  const asked = request.stopSequences.filter((text) => text !== "");
  // A line break may end a turn by the template, and belong to the form of JSON.
  const stops = createStopText([...asked, ...(grammar === undefined ? prompt.stops : grammar.stops)]);
  const text = model.tokenText();
  const outputMax = request.maxOutputTokens ?? Number.POSITIVE_INFINITY;
  const room = model.contextTokens - prompt.tokens.length;
  let outputTokens = 0;
  let reason: StopReason = StopReason.END;
  for await (const { token, last } of model.generate(prompt.tokens, samplingOf(request), grammar, signal)) {
    outputTokens += 1;
    const out = last ? "" : stops.push(text.push(token));
    if (out !== "") yield textEvent(0, 0, out);
    if (last || stops.met !== undefined) {
      if (stops.met !== undefined && asked.includes(stops.met)) reason = StopReason.STOP_SEQUENCE;
      break;
    }
    if (outputTokens >= Math.min(outputMax, room)) {
      reason = outputTokens >= outputMax ? StopReason.LENGTH : StopReason.CONTEXT_FULL;
      break;
    }
  }
  const rest = stops.met === undefined ? stops.push(text.rest()) + stops.rest() : "";
  if (rest !== "") yield textEvent(0, 0, rest);
  const stopSequence = reason === StopReason.STOP_SEQUENCE ? (stops.met ?? "") : "";
  yield endEvent([{ $typeName: "weir.chat.v1.ChoiceEnd", choice: 0, reason, rawReason: "", stopSequence }], {
    $typeName: "weir.common.v1.Usage",
    serverToolUses: {},
    inputTokens: prompt.tokens.length,
    outputTokens,
  });
}
