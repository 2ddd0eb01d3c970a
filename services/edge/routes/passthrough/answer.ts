import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { AnswerHead } from "@weir/gen/weir/passthrough/v1/forward_pb";
import type { ForwardResponse } from "@weir/gen/weir/passthrough/v1/passthrough_service_pb";
import type { ReplyStream } from "@weir/kit/reply-stream";
import { WeirError } from "@weir/kit/weir-error";
import type { Exchange, HeaderList } from "../../http/exchange.ts";
import { usdText, warningsLengthMax } from "../relay.ts";

/** An answer that was read whole. */
export interface WholeAnswer {
  readonly head: AnswerHead;
  readonly body: Buffer;
}

/** Objects of files, batches and vector stores are far smaller. */
const wholeBytesMax = 4 * 1024 * 1024;

/**
 * Reads an answer whole.
 * @throws WeirError as the call; PROVIDER_UNAVAILABLE when it is larger than what such an answer may be
 */
export async function readWhole(reply: ReplyStream<ForwardResponse>): Promise<WholeAnswer> {
  let head: AnswerHead | undefined;
  const parts: Uint8Array[] = [];
  let bytes = 0;
  let ended = false;
  for await (const { payload } of reply) {
    if (payload.case === "head") head = payload.value;
    else if (payload.case === "end") ended = true;
    else if (payload.case === "data") {
      bytes += payload.value.length;
      if (bytes > wholeBytesMax) {
        throw new WeirError(ErrorReason.PROVIDER_UNAVAILABLE, { metadata: { cause: "protocol" } });
      }
      parts.push(payload.value);
    }
  }
  if (head === undefined || !ended) throw new WeirError(ErrorReason.STREAM_TRUNCATED);
  return { head, body: Buffer.concat(parts) };
}

/** A line that clients of server-sent events leave out, wherever a line may begin: also inside of an event. */
const ping = ": ping\n";
const newline = 0x0a;

/**
 * Hands an answer to a client as it comes, as fast as the client reads. Where it is a stream of events, and its provider says
 * nothing for a while between two lines, the client hears that there is life; no other form has a place for that.
 * @returns what the provider reported of usage
 */
export async function relay(
  exchange: Exchange,
  reply: ReplyStream<ForwardResponse>,
  heartbeatMs: number,
): Promise<Usage | undefined> {
  let isEvents = false;
  let isLineStart = true;
  const beat = (): void => {
    exchange.alarm(heartbeatMs, () => {
      if (isLineStart && !exchange.isStalled) exchange.write(ping);
      exchange.delayAlarm(heartbeatMs);
    });
  };
  for await (const { payload } of reply) {
    if (exchange.isOver) return undefined;
    if (payload.case === "head") {
      const { status, contentType } = payload.value;
      isEvents = contentType.startsWith("text/event-stream");
      exchange.begin(status, headersOf(payload.value), isEvents);
      if (isEvents) beat();
    } else if (payload.case === "data") {
      isLineStart = payload.value.at(-1) === newline;
      if (isEvents) exchange.delayAlarm(heartbeatMs);
      if (exchange.write(payload.value)) continue;
      await exchange.writable();
      // A provider may pause for longer than a client. What has failed meanwhile keeps its alarm.
      if (exchange.isOver) continue;
      if (isEvents) beat();
      else exchange.clearAlarm();
    } else if (payload.case === "end") {
      exchange.onGone = undefined;
      exchange.end("");
      return payload.value.usage;
    }
  }
  if (exchange.isOver) return undefined;
  throw new WeirError(ErrorReason.STREAM_TRUNCATED);
}

/** Answers with what was read whole. */
export function answerWhole(exchange: Exchange, { head, body }: WholeAnswer): void {
  exchange.onGone = undefined;
  exchange.answer(head.status, headersOf(head), body);
}

const plainText = /^[\x20-\x7e]*$/;

function headersOf({ contentType, headers, place, model, batchHold }: AnswerHead): HeaderList {
  const list: HeaderList = [
    "content-type",
    plain(contentType) || "application/json",
    "x-content-type-options",
    "nosniff",
  ];
  for (const [name, value] of Object.entries(headers)) list.push(name, plain(value));
  if (batchHold !== undefined) {
    const { softLimits, remainingNanoUsd } = batchHold;
    const warnings = softLimits.map((limit) => `budget_soft_limit ${limit}`).join(", ");
    if (warnings !== "") list.push("x-weir-warnings", plain(warnings.slice(0, warningsLengthMax)));
    list.push("x-weir-budget-remaining-usd", usdText(remainingNanoUsd));
  }
  if (model !== "" && place !== undefined) list.push("x-weir-model", plain(`${place.provider}/${model}`));
  return list;
}

function plain(text: string): string {
  return plainText.test(text) ? text : text.replace(/[^\x20-\x7e]/g, "?");
}
