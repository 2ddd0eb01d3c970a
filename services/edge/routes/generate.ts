import { create } from "@bufbuild/protobuf";
import type { Codec } from "@weir/dialect/codec";
import { type HeaderRules, headerRules, pickClientHeaders } from "@weir/dialect/headers";
import { readWireRequest, wireRequest } from "@weir/dialect/wire-request";
import {
  type GenerateRequest,
  GenerateRequestSchema,
  type GenerateResponse,
} from "@weir/gen/weir/chat/v1/chat_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { callMetadata } from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import type { ReplyStream } from "@weir/kit/reply-stream";
import { WeirError } from "@weir/kit/weir-error";
import { principalHeaderFor } from "../auth/caller.ts";
import { readTags } from "../auth/tags.ts";
import type { EdgeSettings } from "../config.ts";
import type { ChatOptions, EdgeChat } from "../files/owned-files.ts";
import { type BodyMemory, readJsonBody } from "../http/body.ts";
import type { Exchange } from "../http/exchange.ts";
import type { Measures } from "../measures.ts";
import { Relay } from "./relay.ts";
import type { KeyedCall } from "./route.ts";
import type { StreamForm } from "./stream-form.ts";

export interface GenerateDeps {
  readonly chat: EdgeChat;
  readonly settings: () => EdgeSettings;
  readonly memory: BodyMemory;
  readonly measures: Measures;
  readonly clock: Clock;
  /** What makes replies in the place of the chat, when it has to know whose call it is. */
  readonly openReply?: OpenReply;
}

/** As `generate` of a chat. @param call may be handed on to what goes on when the exchange is over */
export type OpenReply = (
  request: GenerateRequest,
  options: ChatOptions,
  call: Pick<KeyedCall, "caller" | "admission">,
) => ReplyStream<GenerateResponse>;

/** What the path of a request says, in dialects whose body does not. */
export interface PathFacts {
  readonly model?: string;
  readonly stream?: boolean;
  /** How a stream goes out. Default: as server-sent events. */
  readonly form?: StreamForm;
}

/** What a reply may be thought to use when the client sets no limit; the truth is settled at the end. */
export const outputTokensGuess = 1_024;
/** Longest deadline that a client may set, in seconds. */
const clientDeadlineMax = 86_400;

/**
 * Answers requests for a model's reply in one public dialect.
 * @param label the path by which the edge measures
 * @param readPath what the path says; it goes before the body
 */
export function createGenerate(
  deps: GenerateDeps,
  codec: Codec,
  label: string,
  readPath?: (call: KeyedCall) => PathFacts,
): (call: KeyedCall) => Promise<void> {
  const rules = headerRules(codec.dialect);
  const openReply: OpenReply = deps.openReply ?? deps.chat.generate;
  return async (call) => {
    const { exchange, caller, admission } = call;
    const path = readPath?.(call) ?? noFacts;
    const tags = readTags(exchange.request.headers);
    const settings = deps.settings();
    const sent = await readJsonBody(exchange, {
      bytesMax: settings.bodyBytesMax,
      stallMs: settings.bodyStallMs,
      bytesPerSecondMin: settings.bodyBytesPerSecondMin,
      memory: deps.memory,
    });
    const reading = readWireRequest(codec, sent, path.model);
    const { envelope } = reading;
    const model = aliasOf(path.model ?? envelope.model ?? "");
    if (!caller.mayCall(model)) throw new WeirError(ErrorReason.MODEL_FORBIDDEN, { metadata: { model } });
    const outputTokens = envelope.maxOutputTokens ?? outputTokensGuess * envelope.choiceCount;
    const reserving = admission.reserve(model, reading.inputTokensEstimate + outputTokens);
    if (reserving !== undefined) {
      await reserving;
      // Nothing would tell of a client that has left meanwhile.
      if (exchange.isOver) return;
    }
    const stream = path.stream ?? envelope.stream ?? false;
    const principal = principalHeaderFor(caller, envelope.user, tags);
    const metadata = callMetadata(principal, exchange.id, exchange.trace);
    const wire = wireRequest(codec, reading, stream, passingHeaders(rules, exchange));
    const reply = openReply(
      { ...emptyRequest, model, wire },
      // A client's timer ends when it has the head: a stream that has begun may go on for as long as it likes.
      { metadata, timeoutMs: stream ? undefined : clientDeadlineMs(exchange), caller },
      call,
    );
    const relay = new Relay(deps, label, exchange, settings, admission, path.form);
    exchange.onGone = () => void reply.return();
    if (stream) relay.holdHeaders();
    await relay.run(reply);
  };
}

const noFacts: PathFacts = {};

// Copied, which costs a tenth of making one.
export const emptyRequest = create(GenerateRequestSchema);

/** What of a client's headers its provider may see. */
export function passingHeaders(rules: HeaderRules, { request }: Exchange): Record<string, string> {
  return rules.client.length === 0 ? {} : pickClientHeaders(rules, request.headers);
}

/** The name that scopes and routes know; `models/` before it says nothing. */
export function aliasOf(model: string): string {
  let alias = model;
  while (alias.startsWith("models/")) alias = alias.slice("models/".length);
  if (alias === "")
    throw new WeirError(ErrorReason.INVALID_REQUEST, { text: "`model` names no model.", metadata: { param: "model" } });
  return alias;
}

/** What the official SDKs say of their own timeout. */
function clientDeadlineMs(exchange: Exchange): number | undefined {
  const text = exchange.request.headers["x-stainless-timeout"];
  if (typeof text !== "string") return undefined;
  const seconds = Number(text);
  return seconds > 0 && seconds <= clientDeadlineMax ? Math.ceil(seconds * 1_000) : undefined;
}
