import { randomBytes, randomUUID } from "node:crypto";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { parseExact } from "@weir/dialect/json";
import { inForeground, type StoredRequest, type StoredTurn } from "@weir/dialect/openai-responses/stored/request";
import { asFailed, readResponseFacts, writeQueued } from "@weir/dialect/openai-responses/stored/response";
import { withMembers } from "@weir/dialect/openai-responses/stored/splice";
import type { GenerateRequest, GenerateResponse } from "@weir/gen/weir/chat/v1/chat_service_pb";
import type { WireChunk } from "@weir/gen/weir/chat/v1/wire_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import type { ConversationService } from "@weir/gen/weir/conversation/v1/conversation_service_pb";
import { ResponseState } from "@weir/gen/weir/conversation/v1/response_pb";
import type { Client, Metadata } from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { reasonWord, toWeirError, WeirError } from "@weir/kit/weir-error";
import type { EdgeSettings } from "../../config.ts";
import type { EdgeChat } from "../../files/owned-files.ts";
import { asked, endStateOf } from "./archive.ts";
import type { ByteRoom } from "./byte-room.ts";
import type { Admission } from "../../limits/limits.ts";
import type { KeyedCall } from "../route.ts";
import { asBuffer, continued, withBody } from "./continued.ts";
import { failureOf } from "./failure.ts";

/** Responses that are made while nobody waits for them. */
export interface BackgroundWork {
  /**
   * Enters a response in the store and begins to make it.
   * @returns the answer to the client: the Response as it is now, queued
   * @throws WeirError OVERLOADED when too many are being made, RATE_LIMITED when too many of them are of one key or tenant,
   *   STORE_UNAVAILABLE
   */
  begin(order: BackgroundOrder): Promise<WireChunk>;
  /** Takes no more, and resolves when none is being made any more. */
  finish(): Promise<void>;
  /** Gives up what is being made; each is stored as failed, if the store answers within a second. */
  giveUp(): Promise<void>;
  /** Stops at once, as a crash would: what is being made fails when its lease runs out. */
  close(): void;
}

export interface BackgroundOrder {
  readonly caller: Pick<KeyedCall["caller"], "id" | "principal" | "tenant" | "mayReach" | "collections">;
  /** Taken over: it ends when the response has. */
  readonly admission: Admission;
  /** With the items that it refers to. */
  readonly request: GenerateRequest;
  /** What of it is the client's own. */
  readonly own: GenerateRequest;
  readonly asked: StoredRequest;
  readonly turns: readonly StoredTurn[];
  readonly metadata: Metadata;
}

export interface BackgroundDeps {
  readonly chat: Pick<EdgeChat, "generate">;
  readonly conversations: Pick<Client<typeof ConversationService>, "beginResponse" | "renewLeases" | "finishResponse">;
  /** For requests and answers, which no client's connection holds any more. */
  readonly room: ByteRoom;
  readonly settings: () => EdgeSettings;
  readonly clock: Clock;
  readonly log: Log;
}

/** One response that is being made. */
interface Work {
  readonly leaseId: string;
  readonly admission: Admission;
  /** The Response as the client got it, how long its answer may be, and what of it stays to the end. */
  readonly queued: Buffer;
  readonly answerBytesMax: number;
  readonly fixed: Readonly<Record<string, string>>;
  /** Hangs up on the provider. */
  leave(): void;
  /** Why it is given up; undefined: it is not. `silent`: the store knows already, or nobody shall. */
  over: "silent" | "shutdown" | undefined;
  done: Promise<void>;
}

/** How long a cancelled response goes on at most, beside the time that the store takes to answer. */
const heartbeatMs = 1_000;
const storeTimeoutMs = 5_000;
const partingMs = 1_000;
/** How long the store may be away from what has ended; the pauses between tries double. */
const finishWithinMs = 600_000;
const finishPauseMs = { first: 500, max: 5_000 };

export function createBackgroundWork(deps: BackgroundDeps): BackgroundWork {
  const { chat, conversations, room, settings, clock, log } = deps;
  const works = new Map<string, Work>();
  /** Whose responses are being made, and entered; one for each. */
  const places = new Set<Pick<BackgroundOrder["caller"], "id" | "tenant">>();
  let ending = false;
  /** Nothing is begun any more, whatever has been entered. */
  let stopped = false;
  let cancelBeat: (() => void) | undefined;

  async function begin(order: BackgroundOrder): Promise<WireChunk> {
    checkShare(order.caller);
    const sent = continued(withBody(order.request, inForeground(bodyOf(order.request))), order.asked, order.turns);
    const bytes = sent.wire?.body.length ?? 0;
    const { backgroundMax } = settings().responses;
    if (ending || places.size >= backgroundMax || !room.take(bytes)) throw tooMany();
    const { id, tenant } = order.caller;
    const place = { id, tenant };
    places.add(place);
    const admission = order.admission.handOver();
    try {
      const work = await enter(order, admission);
      // What was entered too late fails when its lease runs out.
      if (stopped) throw tooMany();
      works.set(work.leaseId, work);
      work.done = make(work, sent, order)
        .catch((error: unknown) => log.error({ error }, "a response in the background could not be ended"))
        .finally(() => {
          works.delete(work.leaseId);
          places.delete(place);
          admission.end();
          room.give(bytes);
        });
      cancelBeat ??= clock.after(beatMs(), beat);
      return answerOf(work.queued, order.request.model);
    } catch (thrown) {
      room.give(bytes);
      places.delete(place);
      admission.settle(0);
      admission.end();
      throw thrown;
    }
  }

  /** Nobody gets all places. @throws WeirError RATE_LIMITED */
  function checkShare({ id, tenant }: BackgroundOrder["caller"]): void {
    const { backgroundMax } = settings().responses;
    let ofKey = 0;
    let ofTenant = 0;
    for (const place of places) {
      if (place.tenant !== tenant) continue;
      ofTenant += 1;
      if (place.id === id) ofKey += 1;
    }
    if (ofKey >= Math.ceil(backgroundMax * keyShare)) throw tooManyOf("key");
    if (ofTenant >= Math.ceil(backgroundMax * tenantShare)) throw tooManyOf("tenant");
  }

  async function enter({ request, asked: wanted, metadata }: BackgroundOrder, admission: Admission): Promise<Work> {
    const { leaseMs, timeToLiveMs, bytesMax } = settings().responses;
    const { previousResponseId, input } = wanted;
    const responseId = `resp_${randomBytes(24).toString("hex")}`;
    const createTimeMs = clock.now();
    const facts = { id: responseId, createTimeMs, model: request.model };
    const queued = writeQueued(parseExact(bodyOf(request).toString()) ?? {}, facts);
    const answerBytesMax = bytesMax - input.length;
    if (queued.length > answerBytesMax) {
      throw new WeirError(ErrorReason.REQUEST_TOO_LARGE, {
        text: `A response in the background is stored, and no more than ${bytesMax} bytes with its input are.`,
        metadata: { bytes_max: String(bytesMax) },
      });
    }
    const leaseId = randomUUID();
    await asked(() =>
      conversations.beginResponse(
        {
          responseId,
          previousResponseId: previousResponseId ?? "",
          input,
          response: queued,
          leaseId,
          lease: durationFromMs(leaseMs),
          timeToLive: durationFromMs(timeToLiveMs),
        },
        { metadata, timeoutMs: storeTimeoutMs },
      ),
    );
    const fixed = {
      id: JSON.stringify(responseId),
      created_at: String(Math.floor(createTimeMs / 1_000)),
      background: "true",
      previous_response_id: JSON.stringify(previousResponseId ?? null),
    };
    return {
      leaseId,
      admission,
      queued,
      answerBytesMax,
      fixed,
      leave: () => {},
      over: undefined,
      done: Promise.resolve(),
    };
  }

  async function make(work: Work, request: GenerateRequest, order: BackgroundOrder): Promise<void> {
    let heldBytes = 0;
    const hold = (bytes: number) => {
      if (heldBytes + bytes > work.answerBytesMax) throw tooLong;
      if (!room.take(bytes)) throw new WeirError(ErrorReason.OVERLOADED);
      heldBytes += bytes;
    };
    try {
      const ended = await endOf(work, request, order, hold);
      if (work.over !== "silent") await store(work, ended);
    } finally {
      room.give(heldBytes);
    }
  }

  /** The Response as it ended, well or not. */
  async function endOf(
    work: Work,
    request: GenerateRequest,
    { caller, metadata, own }: BackgroundOrder,
    hold: (bytes: number) => void,
  ): Promise<Buffer> {
    try {
      const timeoutMs = settings().responses.backgroundTimeoutMs;
      const reply = chat.generate(request, { metadata, timeoutMs, caller, sent: own });
      work.leave = () => void reply.return();
      return withMembers(await readWhole(reply, hold, work.admission), work.fixed);
    } catch (thrown) {
      const error = work.over === "shutdown" ? shutdownError : toWeirError(thrown);
      log.debug({ reason: reasonWord(error.reason) }, "a response in the background failed");
      return asFailed(work.queued, failureOf(error));
    }
  }

  async function store(work: Work, response: Buffer): Promise<void> {
    const facts = readResponseFacts(response);
    const state = endStateOf(facts?.status ?? "") ?? ResponseState.FAILED;
    const output = facts?.output && { start: facts.output.start, end: facts.output.end };
    const endMs = clock.monotonic() + finishWithinMs;
    for (let pauseMs = finishPauseMs.first; ; pauseMs = Math.min(2 * pauseMs, finishPauseMs.max)) {
      try {
        const request = { leaseId: work.leaseId, state, response, ...(output === undefined ? {} : { output }) };
        await conversations.finishResponse(request, { timeoutMs: work.over ? partingMs : storeTimeoutMs });
        return;
      } catch (error) {
        if (work.over === "silent") return;
        if (clock.monotonic() > endMs || work.over === "shutdown") throw error;
        await new Promise<void>((resolve) => {
          const cancel = clock.after(pauseMs, resolve);
          work.leave = () => {
            cancel();
            resolve();
          };
        });
      }
    }
  }

  /** A short lease must be renewed sooner. */
  function beatMs(): number {
    return Math.min(heartbeatMs, settings().responses.leaseMs / 3);
  }

  function beat(): void {
    cancelBeat = undefined;
    if (works.size === 0) return;
    renew()
      .catch((error: unknown) => log.warn({ error }, "leases of responses in the background could not be renewed"))
      .finally(() => {
        if (works.size > 0) cancelBeat ??= clock.after(beatMs(), beat);
      });
  }

  async function renew(): Promise<void> {
    const lease = durationFromMs(settings().responses.leaseMs);
    const leaseIds = [...works.keys()];
    const { endedLeaseIds } = await conversations.renewLeases({ leaseIds, lease }, { timeoutMs: storeTimeoutMs });
    for (const leaseId of endedLeaseIds) stop(works.get(leaseId), "silent");
  }

  function stop(work: Work | undefined, why: "silent" | "shutdown"): void {
    if (work === undefined || work.over !== undefined) return;
    work.over = why;
    work.leave();
  }

  async function allDone(): Promise<void> {
    while (works.size > 0) await Promise.all([...works.values()].map((work) => work.done));
  }

  return {
    begin,
    async finish() {
      ending = true;
      await allDone();
    },
    async giveUp() {
      ending = stopped = true;
      for (const work of works.values()) stop(work, "shutdown");
      await allDone();
    },
    close() {
      ending = stopped = true;
      cancelBeat?.();
      for (const work of works.values()) stop(work, "silent");
    },
  };
}

function bodyOf({ wire }: GenerateRequest): Buffer {
  return asBuffer(wire?.body ?? new Uint8Array());
}

/** Of the places of an edge, what one key and one tenant may hold. */
const keyShare = 1 / 2;
const tenantShare = 3 / 4;

function tooManyOf(scope: "key" | "tenant"): WeirError {
  return new WeirError(ErrorReason.RATE_LIMITED, {
    text: `Too many responses of this ${scope === "key" ? "API key" : scope} are being made in the background; retry after the delay in Retry-After.`,
    metadata: { limit: "concurrent", scope },
    retryAfterMs: 1_000,
  });
}

function tooMany(): WeirError {
  return new WeirError(ErrorReason.OVERLOADED, {
    text: "Too many responses are being made in the background; retry after the delay in Retry-After.",
    retryAfterMs: 1_000,
  });
}

const shutdownError = new WeirError(ErrorReason.OVERLOADED, {
  text: "The gateway was shut down before the response was complete; send the request again.",
});

const tooLong = new WeirError(ErrorReason.INTERNAL, { text: "The response is longer than the gateway keeps." });

/**
 * Reads an answer that is no stream.
 * @param hold asks for room for more of it; throws when there is none
 * @param admission gets the truth about the tokens; of an answer that never began, that there were none
 * @throws WeirError when it is no answer, or breaks off
 */
async function readWhole(
  reply: ReturnType<BackgroundDeps["chat"]["generate"]>,
  hold: (bytes: number) => void,
  admission: Admission,
): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  let complete = false;
  for await (const { payload } of begun(reply, admission)) {
    if (payload.case !== "wire") throw new WeirError(ErrorReason.INTERNAL);
    const { head, data, tail } = payload.value;
    const { inputTokens, outputTokens } = tail?.usage ?? {};
    if (inputTokens !== undefined || outputTokens !== undefined) {
      admission.settle((inputTokens ?? 0) + (outputTokens ?? 0));
    }
    if (head !== undefined && head.status !== 200) {
      throw new WeirError(ErrorReason.PROVIDER_REJECTED, {
        metadata: { provider: head.provider, status: String(head.status) },
      });
    }
    hold(data.length);
    parts.push(data);
    complete ||= tail !== undefined;
  }
  if (!complete) throw new WeirError(ErrorReason.STREAM_TRUNCATED);
  return Buffer.concat(parts);
}

/** A reply as it comes; when it fails before its first message, nothing was used. */
async function* begun(
  reply: ReturnType<BackgroundDeps["chat"]["generate"]>,
  admission: Admission,
): AsyncGenerator<GenerateResponse, void, undefined> {
  let hasBegun = false;
  try {
    for await (const message of reply) {
      hasBegun = true;
      yield message;
    }
  } catch (thrown) {
    if (!hasBegun) admission.settle(0);
    throw thrown;
  }
}

/**
 * The answer at once. No provider has been chosen yet, so that it is Weir that answers, and nothing is said of usage.
 */
function answerOf(queued: Buffer, model: string): WireChunk {
  return {
    $typeName: "weir.chat.v1.WireChunk",
    data: queued,
    head: {
      $typeName: "weir.chat.v1.WireHead",
      status: 200,
      contentType: "application/json",
      headers: {},
      provider: "weir",
      model,
      attempts: 0,
      warnings: [],
    },
    tail: {
      $typeName: "weir.chat.v1.WireTail",
      usageSource: UsageSource.UNSPECIFIED,
    },
  };
}
