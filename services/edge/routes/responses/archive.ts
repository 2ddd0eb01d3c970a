import { type Duration, durationFromMs } from "@bufbuild/protobuf/wkt";
import type { StoredTurn } from "@weir/dialect/openai-responses/stored/request";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { ConversationService } from "@weir/gen/weir/conversation/v1/conversation_service_pb";
import { ResponseState, type StoredResponse } from "@weir/gen/weir/conversation/v1/response_pb";
import type { CallOptions, Client, Metadata } from "@weir/kit/call";
import type { Log } from "@weir/kit/log";
import { CallCancelled, WeirError } from "@weir/kit/weir-error";

/** A response that has ended. */
export interface Ended {
  readonly responseId: string;
  readonly previousResponseId: string | undefined;
  readonly state: ResponseState;
  /** The JSON value of `input`. */
  readonly input: Buffer;
  /** The response as the client gets it. */
  readonly response: Buffer;
  readonly output: { readonly start: number; readonly end: number } | undefined;
}

/**
 * Stored responses, as the edge calls for them. Each call is made in the name of the principal in its metadata. Calls fail with
 * STORE_UNAVAILABLE whenever the store does not answer in time, with NOT_FOUND, and with INVALID_REQUEST.
 */
export interface Archive {
  /**
   * Keeps a response, unless the store is away or has another under its id: then it says so in the log. Never fails, and takes
   * no longer than two seconds.
   * @returns whether it is kept
   */
  keep(ended: Ended, metadata: Metadata): Promise<boolean>;
  get(responseId: string, metadata: Metadata): Promise<StoredResponse>;
  delete(responseId: string, metadata: Metadata): Promise<void>;
  cancel(responseId: string, metadata: Metadata): Promise<StoredResponse>;
  /** The turns up to a response, the oldest first, and how far that has come. */
  history(question: HistoryQuestion, metadata: Metadata): Promise<History>;
  /** Outputs in which items stand, those of the newest response first: JSON lists. What is nowhere is in none of them. */
  outputsWith(question: ItemsQuestion, metadata: Metadata): Promise<readonly Uint8Array[]>;
  /** Resolves when nothing is being kept any more. */
  idle(): Promise<void>;
}

export interface HistoryQuestion {
  /** The response that ends the last turn. */
  readonly responseId: string;
  /** Most bytes of all turns. */
  readonly bytesMax: number;
  /** Whether turns before one that was deleted are left out; else there is no history. */
  readonly partial: boolean;
  readonly signal?: CallOptions["signal"];
}

export interface ItemsQuestion {
  /** 1 to 1,000. */
  readonly itemIds: readonly string[];
  /** Most bytes of all outputs. */
  readonly bytesMax: number;
  readonly signal?: CallOptions["signal"];
}

export interface History {
  readonly turns: readonly StoredTurn[];
  readonly state: ResponseState;
}

export interface ArchiveDeps {
  readonly conversations: Client<typeof ConversationService>;
  /** How long a response is kept. */
  readonly timeToLiveMs: () => number;
  readonly log: Log;
}

/** A client waits for its answer meanwhile. */
const keepTimeoutMs = 2_000;
const readTimeoutMs = 5_000;
const storeRetryMs = 1_000;
/** What the contract lets be asked for. */
const historyBytesMax = 50_331_648;
/** Conversations that are read at once; each may be large. */
const lookupsMax = 256;

export function createArchive({ conversations, timeToLiveMs, log }: ArchiveDeps): Archive {
  const keeping = new Set<Promise<boolean>>();
  let lookups = 0;

  async function store(ended: Ended, metadata: Metadata): Promise<boolean> {
    try {
      const request = { ...ended, previousResponseId: ended.previousResponseId ?? "", timeToLive: timeToLive() };
      await conversations.storeResponse(
        { ...request, output: ended.output && { start: ended.output.start, end: ended.output.end } },
        { metadata, timeoutMs: keepTimeoutMs },
      );
      return true;
    } catch (error) {
      log.warn({ error }, "a response could not be stored");
      return false;
    }
  }

  /** One of the look-ups that may run at once. */
  async function lookUp<T>(call: () => Promise<T>): Promise<T> {
    if (lookups >= lookupsMax) throw new WeirError(ErrorReason.OVERLOADED, { retryAfterMs: storeRetryMs });
    lookups += 1;
    try {
      return await asked(call);
    } finally {
      lookups -= 1;
    }
  }

  function timeToLive(): Duration {
    return durationFromMs(timeToLiveMs());
  }

  return {
    keep(ended, metadata) {
      const kept = store(ended, metadata).finally(() => keeping.delete(kept));
      keeping.add(kept);
      return kept;
    },
    get: (responseId, metadata) =>
      asked(async () => found(await conversations.getResponse({ responseId }, { metadata, timeoutMs: readTimeoutMs }))),
    delete: (responseId, metadata) =>
      asked(
        async () => void (await conversations.deleteResponse({ responseId }, { metadata, timeoutMs: readTimeoutMs })),
      ),
    cancel: (responseId, metadata) =>
      asked(async () =>
        found(await conversations.cancelResponse({ responseId }, { metadata, timeoutMs: readTimeoutMs })),
      ),
    history: ({ responseId, bytesMax, partial, signal }, metadata) =>
      lookUp(() =>
        conversations.getHistory(
          { responseId, bytesMax: within(bytesMax), partial },
          { metadata, timeoutMs: readTimeoutMs, signal },
        ),
      ),
    async outputsWith({ itemIds, bytesMax, signal }, metadata) {
      const request = { itemIds: [...itemIds], bytesMax: within(bytesMax) };
      const { outputs } = await lookUp(() =>
        conversations.findItems(request, { metadata, timeoutMs: readTimeoutMs, signal }),
      );
      return outputs;
    },
    async idle() {
      while (keeping.size > 0) await Promise.all(keeping);
    },
  };
}

function within(bytesMax: number): number {
  return Math.max(0, Math.min(bytesMax, historyBytesMax));
}

function found({ response }: { readonly response?: StoredResponse | undefined }): StoredResponse {
  if (response === undefined) throw new WeirError(ErrorReason.INTERNAL);
  return response;
}

/** Asks the store; whatever keeps it from answering is one failure. */
export async function asked<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (thrown) {
    if (thrown instanceof CallCancelled) throw thrown;
    const isAnswer =
      thrown instanceof WeirError &&
      (thrown.reason === ErrorReason.NOT_FOUND || thrown.reason === ErrorReason.INVALID_REQUEST);
    if (isAnswer) throw thrown;
    throw new WeirError(ErrorReason.STORE_UNAVAILABLE, { retryAfterMs: storeRetryMs, cause: thrown });
  }
}

const statesByWord: ReadonlyMap<string, ResponseState> = new Map([
  ["completed", ResponseState.COMPLETED],
  ["incomplete", ResponseState.INCOMPLETE],
  ["failed", ResponseState.FAILED],
  ["cancelled", ResponseState.CANCELLED],
]);

/** The state that a Response names itself; undefined for words of one that has not ended. */
export function endStateOf(status: string): ResponseState | undefined {
  return statesByWord.get(status);
}
