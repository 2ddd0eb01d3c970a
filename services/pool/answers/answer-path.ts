import type { ProviderError, StreamFault, UsageReading } from "@weir/dialect/codec";
import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";

/** What a caller gets: bytes of its own dialect, or events of the canonical form. */
export type Piece = Buffer | readonly GenerateEvent[];

/** How the answers to one call are read, and what becomes of them on their way to the caller. */
export interface AnswerPath {
  /** Media type of the provider's streams. */
  readonly streamType: string;
  /** Media types of what the caller gets. */
  readonly contentTypes: { readonly stream: string; readonly whole: string };
  openStream(): StreamPath;
  /** Reads the body of an answer that is no stream, or of a refusal. */
  readWhole(body: Buffer): WholeAnswer;
}

/** One streamed answer. */
export interface StreamPath {
  /** Takes the next bytes; returns what the caller shall get now, undefined when there is nothing yet. */
  push(bytes: Buffer): Piece | undefined;
  /** The stream has ended in order; returns the last of what the caller shall get. */
  end(): Piece | undefined;
  /** One object that changes as the stream goes on. */
  readonly facts: StreamFacts;
  /** Events with content so far. */
  contentEvents(): number;
  /** A guess at the output tokens that came. */
  outputTokens(): number;
}

/** What is known of a stream so far. */
export interface StreamFacts {
  /** Whether content has come, or the end of the answer. */
  readonly content: boolean;
  /** Whether the answer is whole. */
  readonly complete: boolean;
  /** Once set, nothing more is handed on. */
  readonly fault: StreamFault | undefined;
  /** The last usage that was reported. */
  readonly usage: UsageReading | undefined;
  /** The provider's id of the reply; empty while there is none. */
  readonly replyId: string;
}

/** What a whole body turned out to be. */
export type WholeAnswer =
  | {
      readonly kind: "answer";
      readonly usage: UsageReading | undefined;
      /** A guess at the output tokens: for providers that report none. */
      readonly outputTokens: number;
      readonly replyId: string;
      /** What the caller gets. */
      readonly piece: Piece;
    }
  /** It reports an error, whatever the status was. */
  | {
      readonly kind: "error";
      readonly error: ProviderError;
      /** What a caller of the same dialect may get as it is; undefined when it must be told in other words. */
      readonly piece: Buffer | undefined;
    }
  /** Neither; HTML, say. */
  | { readonly kind: "malformed" };

/** Media types of each framing. */
export const mediaTypes = {
  sse: "text/event-stream",
  ndjson: "application/x-ndjson",
  "aws-event-stream": "application/vnd.amazon.eventstream",
} as const;
