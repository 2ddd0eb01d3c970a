import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";

/** What a vendor answers to the calls for one model. */
export type Script =
  /** An answer. */
  | {
      readonly kind: "answer";
      /** In the canonical form; `end` is the last. */
      readonly events: readonly GenerateEvent[];
    }
  /** The beginning of an answer. One that is no stream gets no byte. */
  | {
      readonly kind: "broken";
      /** What is sent before it breaks. */
      readonly events: readonly GenerateEvent[];
      readonly how: Break;
    }
  /** An error instead of an answer, in the vendor's own words. */
  | { readonly kind: "refusal"; readonly status: RefusalStatus; readonly headers: Readonly<Record<string, string>> };

/** How an answer breaks. */
export type Break =
  /** The connection is reset. */
  | "cut"
  /** The stream ends in order, but before its end mark. */
  | "short"
  /** The vendor reports an error inside the stream, and ends it in order. */
  | "error"
  /** Nothing more comes, until the caller hangs up. */
  | "silence";

export type RefusalStatus = 400 | 429 | 500;
