import { randomUUID } from "node:crypto";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import {
  type ClaimKeyResponse,
  ClaimState,
  type IdempotencyService,
  type StoredAnswer,
} from "@weir/gen/weir/idempotency/v1/idempotency_service_pb";
import { callMetadata, type Client } from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { WeirError } from "@weir/kit/weir-error";
import type { Caller } from "../auth/caller.ts";
import type { EdgeSettings } from "../config.ts";
import type { AnswerKeeper } from "../http/answer-keeper.ts";
import { type BodyMemory, readBody } from "../http/body.ts";
import type { Exchange } from "../http/exchange.ts";
import { createAnswerCopy } from "./answer-copy.ts";
import { createRequestSeal, digestOf, type RequestSeal } from "./sealed-answer.ts";

export interface IdempotencyDeps {
  readonly claims: Client<typeof IdempotencyService>;
  /** Secret under which keys are hashed and answers are encrypted: the pepper. */
  readonly secret: Uint8Array;
  readonly memory: BodyMemory;
  readonly settings: () => EdgeSettings;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Answers requests that come with an `Idempotency-Key` once, and again with the same words for 24 hours: the outcome is in
 * the store before its last byte leaves.
 * https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
 */
export interface Idempotency {
  /**
   * Answers by what is stored, or by `handle`.
   * @param route template of the path; the same key at another route is another key
   * @throws WeirError INVALID_REQUEST for a key that is none, IDEMPOTENCY_KEY_IN_USE, IDEMPOTENCY_KEY_SPENT, what reading
   * the body throws, and STORE_UNAVAILABLE
   */
  serve(exchange: Exchange, caller: Caller, route: string, handle: () => Promise<void> | void): Promise<void>;
  close(): void;
}

export const idempotencyHeader = "idempotency-key";

const keyShape = /^[\x21-\x7e]{1,255}$/;
const keptMs = 86_400_000;
/** How long a key stays taken when the edge that answers was killed. */
const leaseMs = 30_000;
const renewMs = 10_000;
const callTimeoutMs = 2_000;
const inUseRetryMs = 1_000;
/** Beside successes: refusals that only the request itself is the reason of. Whatever else failed may go well the next time. */
const finalStatuses: ReadonlySet<number> = new Set([400, 413, 415, 422]);
const notStored = ["idempotency-stored", "false"];

export function createIdempotency(deps: IdempotencyDeps): Idempotency {
  const { claims, clock, log, memory } = deps;
  const held = new Set<string>();
  let cancelTimer = clock.after(renewMs, renew);

  function renew(): void {
    cancelTimer = clock.after(renewMs, renew);
    // Requests that are open are bounded, and so are these.
    for (let rest = [...held]; rest.length > 0; rest = rest.slice(10_000)) {
      claims
        .renewClaims({ claimIds: rest.slice(0, 10_000), lease: durationFromMs(leaseMs) }, { timeoutMs: callTimeoutMs })
        .catch((error: unknown) => log.warn({ error }, "claims on idempotency keys could not be renewed"));
    }
  }

  function keeperOf(exchange: Exchange, caller: Caller, claimId: string, seal: RequestSeal): AnswerKeeper {
    const copy = createAnswerCopy(exchange, memory);
    const options = { ...optionsOf(caller, exchange), timeoutMs: callTimeoutMs };

    /** @returns whether the outcome is there for the next request. Never rejects. */
    async function store(): Promise<boolean> {
      held.delete(claimId);
      const { status, headers, body, tooLong } = copy.whole();
      // gRPC-Web and Connect's streams tell of failures in answers of status 200.
      const meaning = exchange.failure?.row.openai.status ?? status;
      try {
        if ((meaning < 200 || meaning > 299) && !finalStatuses.has(meaning)) {
          await claims.releaseClaim({ claimId }, options);
          return true;
        }
        const answer = { status, headers: tooLong ? [] : headers, body, tooLong };
        const { stored } = await claims.storeOutcome({ claimId, outcome: seal.close(answer) }, options);
        return stored && !tooLong;
      } catch (error) {
        log.warn({ requestId: exchange.id, error }, "the outcome of a request with an idempotency key was not stored");
        return false;
      }
    }

    return {
      async answered(status, headers, body) {
        copy.head(status, headers);
        copy.add(body);
        return (await store()) ? [] : notStored;
      },
      began: (status, headers) => copy.head(status, headers),
      wrote: (data) => copy.add(data),
      async ended(data) {
        copy.add(data);
        await store();
      },
      broke() {
        held.delete(claimId);
        claims.releaseClaim({ claimId }, options).catch((error: unknown) => {
          log.debug({ requestId: exchange.id, error }, "a claim on an idempotency key ends with its lease");
        });
      },
    };
  }

  async function claim(request: Parameters<typeof claims.claimKey>[0], caller: Caller, exchange: Exchange) {
    try {
      return await claims.claimKey(request, { ...optionsOf(caller, exchange), timeoutMs: callTimeoutMs });
    } catch (cause) {
      throw new WeirError(ErrorReason.STORE_UNAVAILABLE, { retryAfterMs: inUseRetryMs, cause });
    }
  }

  return {
    async serve(exchange, caller, route, handle) {
      const key = String(exchange.request.headers[idempotencyHeader]);
      if (!keyShape.test(key)) throw invalid("must have 1 to 255 visible ASCII characters");
      // Uploads are not held in memory, which a digest of them would need.
      if (/^multipart\//i.test(exchange.request.headers["content-type"] ?? "")) {
        throw invalid("does not go with multipart bodies");
      }
      const { bodyBytesMax, bodyStallMs, bodyBytesPerSecondMin } = deps.settings();
      const body = await readBody(exchange, {
        bytesMax: bodyBytesMax,
        stallMs: bodyStallMs,
        bytesPerSecondMin: bodyBytesPerSecondMin,
        memory,
      });
      exchange.body = body;
      const { method = "", url = "", headers } = exchange.request;
      const seal = createRequestSeal(deps.secret, [caller.id, route, key]);
      const claimId = randomUUID();
      const requestDigest = digestOf(deps.secret, "request", [method, url, headers["content-type"] ?? "", body]);
      held.add(claimId);
      try {
        const times = { lease: durationFromMs(leaseMs), timeToLive: durationFromMs(keptMs) };
        const claimed = await claim({ keyId: seal.keyId, requestDigest, claimId, ...times }, caller, exchange);
        if (claimed.state !== ClaimState.CLAIMED) {
          repeat(exchange, answerOf(claimed, seal));
          return;
        }
        const keeper = keeperOf(exchange, caller, claimId, seal);
        if (exchange.isOver) {
          keeper.broke();
          return;
        }
        exchange.keeper = keeper;
      } finally {
        if (exchange.keeper === undefined) held.delete(claimId);
      }
      await handle();
    },
    close: () => cancelTimer(),
  };
}

function invalid(fault: string): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, {
    text: `The header \`Idempotency-Key\` ${fault}.`,
    metadata: { param: idempotencyHeader },
  });
}

/** @throws WeirError when the key is not free, and there is nothing to repeat */
function answerOf({ state, outcome }: ClaimKeyResponse, seal: RequestSeal): StoredAnswer {
  if (state === ClaimState.IN_USE) {
    throw new WeirError(ErrorReason.IDEMPOTENCY_KEY_IN_USE, { retryAfterMs: inUseRetryMs });
  }
  if (state !== ClaimState.ANSWERED) throw new WeirError(ErrorReason.IDEMPOTENCY_KEY_SPENT);
  const answer = seal.open(outcome);
  if (answer !== undefined && !answer.tooLong) return answer;
  throw new WeirError(ErrorReason.IDEMPOTENCY_KEY_SPENT, {
    text: "The request with this Idempotency-Key was answered, and the answer is not kept; it was too long. Send a new key to ask again.",
  });
}

function repeat(exchange: Exchange, { status, headers, body }: StoredAnswer): void {
  exchange.answer(status, [...headers, "idempotency-replayed", "true"], body);
}

function optionsOf(caller: Caller, exchange: Exchange) {
  return { metadata: callMetadata(caller.principalHeader, exchange.id, exchange.trace) };
}
