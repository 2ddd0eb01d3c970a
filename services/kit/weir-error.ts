import { durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";
import { ConnectError, type Code } from "@connectrpc/connect";
import { ErrorInfoSchema, RetryInfoSchema } from "@weir/gen/google/rpc/error_details_pb";
import { ErrorReason, ErrorReasonSchema } from "@weir/gen/weir/common/v1/error_reason_pb";
import { type ErrorRow, errorTable, type Reason } from "./error-table.ts";

/** What a WeirError may carry beside its reason. */
export interface WeirErrorOptions {
  /** One sentence for the caller: what was wrong and what to change. Default: the row's text. */
  readonly text?: string;
  /**
   * Facts for programs, under the keys that ErrorReason documents. No prompts, secrets or provider's words. A `model` or a
   * `resource` that no name looks like is left out: callers wrote it.
   */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Least time before trying again, in milliseconds. */
  readonly retryAfterMs?: number;
  /** What led here. For logs of types and stacks; never shown to a caller. */
  readonly cause?: unknown;
}

const plainName = /^[\p{L}\p{N} ._:/@*+~=-]{0,600}$/u;

function plainNames(metadata: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const { model, resource } = metadata;
  if ((model === undefined || plainName.test(model)) && (resource === undefined || plainName.test(resource)))
    return metadata;
  return Object.fromEntries(
    Object.entries(metadata).filter(
      ([key, value]) => !(key === "model" || key === "resource") || plainName.test(value),
    ),
  );
}

/** The one class of failure that a caller can see; everything else is mapped to it at a door. */
export class WeirError extends Error {
  override readonly name = "WeirError";
  readonly reason: Reason;
  readonly metadata: Readonly<Record<string, string>>;
  readonly retryAfterMs: number | undefined;

  constructor(reason: Reason, options: WeirErrorOptions = {}) {
    super(options.text ?? errorTable[reason].text, options.cause === undefined ? undefined : { cause: options.cause });
    this.reason = reason;
    this.metadata = plainNames(options.metadata ?? {});
    this.retryAfterMs = options.retryAfterMs;
  }

  /** How this failure looks at each door. */
  get row(): ErrorRow {
    return errorTable[this.reason];
  }
}

/** Thrown to a caller that gave its own call up; no row, no status, logged at debug. */
export class CallCancelled extends Error {
  override readonly name = "CallCancelled";
  constructor(message = "the caller gave the call up") {
    super(message);
  }
}

const domain = "weir";

/** The word that travels for a reason: `RATE_LIMITED`. */
export function reasonWord(reason: Reason): string {
  return ErrorReasonSchema.value[reason]?.localName ?? "INTERNAL";
}

const reasonByWord: ReadonlyMap<string, Reason> = new Map(
  ErrorReasonSchema.values
    .filter((value) => value.number !== ErrorReason.UNSPECIFIED)
    .map((value) => [value.localName, value.number as Reason]),
);

/** The reason that a word stands for; undefined for words of other domains and later versions. */
export function reasonFromWord(word: string): Reason | undefined {
  return reasonByWord.get(word);
}

/** For the wire: status code, google.rpc.ErrorInfo and, where there is a delay, google.rpc.RetryInfo. */
export function toConnectError(error: WeirError): ConnectError {
  const details: ConstructorParameters<typeof ConnectError>[3] = [
    { desc: ErrorInfoSchema, value: { reason: reasonWord(error.reason), domain, metadata: { ...error.metadata } } },
  ];
  if (error.retryAfterMs !== undefined) {
    // A Duration holds no part of a nanosecond.
    const retryDelay = durationFromMs(Math.ceil(error.retryAfterMs));
    details.push({ desc: RetryInfoSchema, value: { retryDelay } });
  }
  return new ConnectError(error.message, error.row.code, undefined, details, error.cause);
}

/** From the wire. A status without our ErrorInfo is judged by its code alone. */
export function fromConnectError(error: ConnectError): WeirError {
  const info = error.findDetails(ErrorInfoSchema).find((detail) => detail.domain === domain);
  const retry = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  const reason = (info && reasonFromWord(info.reason)) ?? reasonFromCode(error.code);
  return new WeirError(reason, {
    ...(info && error.rawMessage !== "" ? { text: error.rawMessage } : {}),
    ...(info ? { metadata: info.metadata } : {}),
    ...(retry ? { retryAfterMs: durationMs(retry) } : {}),
    cause: error,
  });
}

/** Anything thrown, as a WeirError; what is not one already is a defect of ours. */
export function toWeirError(thrown: unknown): WeirError {
  if (thrown instanceof WeirError) return thrown;
  if (thrown instanceof ConnectError) return fromConnectError(thrown);
  return new WeirError(ErrorReason.INTERNAL, { cause: thrown });
}

// https://github.com/grpc/grpc/blob/master/doc/statuscodes.md
const reasonsByCode: ReadonlyMap<Code, Reason> = new Map([
  [3, ErrorReason.INVALID_REQUEST],
  [4, ErrorReason.DEADLINE_EXCEEDED],
  [5, ErrorReason.NOT_FOUND],
  [6, ErrorReason.ALREADY_EXISTS],
  [7, ErrorReason.FORBIDDEN],
  [8, ErrorReason.OVERLOADED],
  [12, ErrorReason.METHOD_NOT_ALLOWED],
  [11, ErrorReason.INVALID_REQUEST],
  [14, ErrorReason.OVERLOADED],
  [16, ErrorReason.API_KEY_INVALID],
]);

function reasonFromCode(code: Code): Reason {
  return reasonsByCode.get(code) ?? ErrorReason.INTERNAL;
}

/** What was thrown, or an Error with it as its cause when it is none. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error("what was thrown is no Error", { cause: thrown });
}
