import { mayHoldState, readPieces } from "@weir/dialect/openai-responses/stored/events";
import { asCancelled, asFailed, readResponseFacts } from "@weir/dialect/openai-responses/stored/response";
import { withMembers } from "@weir/dialect/openai-responses/stored/splice";
import type { WireChunk, WireHead } from "@weir/gen/weir/chat/v1/wire_pb";
import { ResponseState } from "@weir/gen/weir/conversation/v1/response_pb";
import type { WeirError } from "@weir/kit/weir-error";
import { type Ended, endStateOf } from "./archive.ts";
import type { ByteRoom } from "./byte-room.ts";
import { failureOf } from "./failure.ts";

/** What becomes of a piece of an answer. */
export type Taken =
  /** It goes to the client as it came. */
  | { readonly kind: "pass" }
  /** It is kept back until the answer is whole. */
  | { readonly kind: "wait" }
  /** This goes to the client in its place. */
  | { readonly kind: "instead"; readonly chunk: WireChunk }
  /** The answer is whole. */
  | {
      readonly kind: "end";
      /** What goes to the client at once. */
      readonly before: WireChunk | undefined;
      /** What there is to store; undefined: it cannot be. */
      readonly ended: Ended | undefined;
      /** What goes to the client when that is done. */
      after(stored: boolean): WireChunk;
    };

export interface RecordOptions {
  readonly previousResponseId: string | undefined;
  /** The JSON value of the client's `input`. */
  readonly input: Buffer;
  /** Most bytes of input and response together. */
  readonly bytesMax: number;
  /** For what is held of the answer. */
  readonly room: ByteRoom;
}

const pass: Taken = { kind: "pass" };
const wait: Taken = { kind: "wait" };
/** Where the headers have left, in a line that clients pass over. */
const notStoredComment = Buffer.from(": weir-warnings not_stored\n\n");

/**
 * Follows one answer on its way to the client, and knows at its end, whatever that is, what there is to store. Of a stream it looks
 * only at the few events that hold more than deltas.
 */
export class AnswerRecord {
  private readonly options: RecordOptions;
  private mode: "waiting" | "events" | "whole" | "over" = "waiting";
  private head: WireHead | undefined;
  /** Of an answer that is no stream, what came so far. */
  private parts: Buffer[] = [];
  /** Of a stream, the Response as it was last told; undefined: not yet. */
  private latest: Buffer | undefined;
  /** Of a stream, its output items that are whole. */
  private readonly items: Buffer[] = [];
  private heldBytes = 0;
  private isTooLarge = false;

  constructor(options: RecordOptions) {
    this.options = options;
  }

  take(chunk: WireChunk): Taken {
    if (this.mode === "waiting") this.begin(chunk);
    switch (this.mode) {
      case "whole":
        return this.takeWhole(chunk);
      case "events":
        return this.takeEvents(chunk);
      default:
        return pass;
    }
  }

  /** The answer broke off. @returns what there is to store; undefined when the client has seen no id */
  failed(error: WeirError): Ended | undefined {
    return this.broken(ResponseState.FAILED, (response) => asFailed(response, failureOf(error), this.items));
  }

  /** The client left before the end. @returns what there is to store; undefined when it has seen no id */
  left(): Ended | undefined {
    return this.broken(ResponseState.CANCELLED, (response) => asCancelled(response, this.items));
  }

  /** Lets go of what is held. */
  release(): void {
    this.mode = "over";
    this.parts = [];
    this.forget();
  }

  private begin({ head }: WireChunk): void {
    this.head = head;
    if (head?.status !== 200) this.mode = "over";
    else this.mode = head.contentType.startsWith("text/event-stream") ? "events" : "whole";
  }

  private takeWhole(chunk: WireChunk): Taken {
    const data = asBuffer(chunk.data);
    this.parts.push(data);
    if (!this.hold(data.length)) {
      const all = Buffer.concat(this.parts);
      this.release();
      return { kind: "instead", chunk: withHead({ ...chunk, data: all }, notStored(this.head)) };
    }
    if (chunk.tail === undefined) return wait;
    this.mode = "over";
    const response = this.shown(Buffer.concat(this.parts));
    const after = (stored: boolean) =>
      withHead({ ...chunk, data: response }, stored ? this.head : notStored(this.head));
    return { kind: "end", before: undefined, ended: this.ended(response), after };
  }

  private takeEvents(chunk: WireChunk): Taken {
    const data = asBuffer(chunk.data);
    if (!mayHoldState(data)) return pass;
    const pieces = readPieces(data);
    const shown: Buffer[] = [];
    let changed = false;
    for (const [index, piece] of pieces.entries()) {
      if (piece.kind === "item" && this.hold(piece.item.length)) this.items.push(piece.item);
      if (piece.kind !== "response") {
        shown.push(piece.bytes);
        continue;
      }
      const response = this.shown(piece.response);
      const bytes = response === piece.response ? piece.bytes : piece.with(response);
      if (piece.isLast)
        return this.endEvents(chunk, shown, response, [bytes, ...pieces.slice(index + 1).map((rest) => rest.bytes)]);
      changed ||= bytes !== piece.bytes;
      this.letGo(this.latest?.length ?? 0);
      this.latest = this.hold(response.length) ? response : undefined;
      shown.push(bytes);
    }
    return changed ? { kind: "instead", chunk: { ...chunk, data: Buffer.concat(shown) } } : pass;
  }

  private endEvents(chunk: WireChunk, before: readonly Buffer[], response: Buffer, last: readonly Buffer[]): Taken {
    this.mode = "over";
    const { head, tail } = chunk;
    const isFirst = before.length === 0;
    // The last Response holds all that was kept of it.
    this.forget();
    return {
      kind: "end",
      before: isFirst ? undefined : withHead(chunkOf(Buffer.concat(before)), head),
      ended: this.hold(response.length) ? this.ended(response) : undefined,
      after(stored) {
        const data = Buffer.concat(stored ? last : [notStoredComment, ...last]);
        const rest = withHead(chunkOf(data), isFirst ? head : undefined);
        return tail === undefined ? rest : { ...rest, tail };
      },
    };
  }

  /** A Response as the client shall see it: it does not know that its provider was told the whole conversation. */
  private shown(response: Buffer): Buffer {
    const { previousResponseId } = this.options;
    if (previousResponseId === undefined) return response;
    return withMembers(response, { previous_response_id: JSON.stringify(previousResponseId) });
  }

  private ended(response: Buffer): Ended | undefined {
    const facts = readResponseFacts(response);
    const state = facts && endStateOf(facts.status);
    if (facts === undefined || state === undefined || this.isTooLarge) return undefined;
    const { previousResponseId, input } = this.options;
    return { responseId: facts.id, previousResponseId, state, input, response, output: facts.output };
  }

  private broken(state: ResponseState, write: (response: Buffer) => Buffer): Ended | undefined {
    if (this.mode !== "events" || this.latest === undefined || this.isTooLarge) return undefined;
    this.mode = "over";
    const ended = this.ended(write(this.latest));
    return ended && { ...ended, state };
  }

  /** @returns false when no more may be held; then nothing will be stored */
  private hold(bytes: number): boolean {
    const { input, bytesMax, room } = this.options;
    this.isTooLarge ||= input.length + this.heldBytes + bytes > bytesMax || !room.take(bytes);
    if (this.isTooLarge) return false;
    this.heldBytes += bytes;
    return true;
  }

  private letGo(bytes: number): void {
    this.options.room.give(bytes);
    this.heldBytes -= bytes;
  }

  private forget(): void {
    this.items.length = 0;
    this.latest = undefined;
    this.letGo(this.heldBytes);
  }
}

function notStored(head: WireHead | undefined): WireHead | undefined {
  if (head === undefined) return undefined;
  const warning = { $typeName: "weir.chat.v1.Warning" as const, code: "not_stored", param: "", text: "" };
  return { ...head, warnings: [...head.warnings, warning] };
}

function chunkOf(data: Buffer): WireChunk {
  return { $typeName: "weir.chat.v1.WireChunk", data };
}

function withHead(chunk: WireChunk, head: WireHead | undefined): WireChunk {
  return head === undefined ? chunk : { ...chunk, head };
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
