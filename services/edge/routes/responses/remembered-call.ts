import { invalid } from "@weir/dialect/faults";
import { readStoredRequest, type StoredRequest } from "@weir/dialect/openai-responses/stored/request";
import type { GenerateRequest, GenerateResponse } from "@weir/gen/weir/chat/v1/chat_service_pb";
import type { WireChunk } from "@weir/gen/weir/chat/v1/wire_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Metadata } from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import { type ReplySource, ReplyStream } from "@weir/kit/reply-stream";
import { asError, toWeirError, WeirError } from "@weir/kit/weir-error";
import type { EdgeSettings } from "../../config.ts";
import type { ChatOptions, EdgeChat } from "../../files/owned-files.ts";
import type { KeyedCall } from "../route.ts";
import type { Archive, Ended } from "./archive.ts";
import type { BackgroundWork } from "./background.ts";
import type { ByteRoom } from "./byte-room.ts";
import { asBuffer, continued, readHistory, withReferredItems } from "./continued.ts";
import { AnswerRecord } from "./record.ts";

export interface RememberingDeps {
  readonly chat: Pick<EdgeChat, "generate">;
  readonly archive: Archive;
  readonly background: BackgroundWork;
  readonly room: ByteRoom;
  readonly settings: () => EdgeSettings;
  readonly clock: Clock;
}

/**
 * One call for a Response that knows what went before, and is remembered. It puts the turns that the request continues into its input,
 * hands the answer on as it comes, and stores it before the last piece of it goes out. A response in the background is entered,
 * and answered as queued.
 */
export class RememberedCall implements ReplySource<GenerateResponse> {
  readonly stream = new ReplyStream<GenerateResponse>(this);
  private readonly deps: RememberingDeps;
  private readonly request: GenerateRequest;
  private readonly options: ChatOptions;
  private readonly call: Pick<KeyedCall, "caller" | "admission">;
  private readonly metadata: Metadata;
  private readonly beginMs: number;
  /** Fires when the client leaves. */
  private readonly leaving = new AbortController();
  /** The answer, once it is asked for. */
  private reply: ReplyStream<GenerateResponse> | undefined;
  private answer: AnswerRecord | undefined;
  /** Whether the client wants its response to be stored; whether it is going to be. */
  private wantsStore = true;
  private isKept = false;
  /** Bytes of turns that were put into the input. */
  private historyBytes = 0;
  /** Set while the store is waited for: nothing is handed on meanwhile. */
  private isStoring = false;
  /** What goes out next. */
  private next: GenerateResponse | undefined;

  constructor(
    deps: RememberingDeps,
    request: GenerateRequest,
    options: ChatOptions,
    call: Pick<KeyedCall, "caller" | "admission">,
  ) {
    this.deps = deps;
    this.request = request;
    this.options = options;
    this.call = call;
    this.metadata = options.metadata ?? {};
    this.beginMs = deps.clock.monotonic();
  }

  begin(): void {
    const body = asBuffer(this.request.wire?.body ?? noBytes);
    try {
      const asked = readStoredRequest(body);
      const isWhole = asked.previousResponseId === undefined && asked.references.length === 0;
      if (!asked.background && isWhole) this.open(this.request, asked, this.request);
      else this.prepare(asked, body).catch((thrown: unknown) => this.fail(thrown));
    } catch (thrown) {
      this.fail(thrown);
    }
  }

  poll(): GenerateResponse | undefined {
    const { next, reply, answer } = this;
    this.next = undefined;
    if (next !== undefined) return next;
    if (reply === undefined || answer === undefined || this.isStoring) return undefined;
    for (;;) {
      let message: GenerateResponse | undefined;
      try {
        message = reply.poll();
      } catch (thrown) {
        this.keepThen(answer.failed(toWeirError(thrown)), () => this.fail(thrown));
        return undefined;
      }
      if (message === undefined) {
        if (reply.ended) this.replyEnded(answer);
        return undefined;
      }
      const taken = message.payload.case === "wire" ? answer.take(message.payload.value) : undefined;
      switch (taken?.kind) {
        case "wait":
          break;
        case "instead":
          return responseOf(taken.chunk);
        case "end":
          this.keepThen(taken.ended, (isStored) => {
            this.next = responseOf(taken.after(isStored || !this.wantsStore));
            this.stream.ready();
          });
          // Where nothing is to be stored, the end is there already.
          return taken.before === undefined ? this.poll() : responseOf(taken.before);
        default:
          return message;
      }
    }
  }

  /** The client has left. */
  hangUp(): void {
    this.leaving.abort();
    void this.reply?.return();
    // What is being stored holds its bytes until it is there; then `keepThen` lets go of them.
    if (!this.isStoring) this.keepThen(this.answer?.left(), () => this.release());
  }

  private async prepare(read: StoredRequest, body: Buffer): Promise<void> {
    const { archive, background, room, settings } = this.deps;
    if (read.background && !settings().responses.store) {
      throw invalid("Nothing is stored here, so that nothing can be made in the background.", "background");
    }
    const { metadata } = this;
    const { signal } = this.leaving;
    const bytesMax = settings().bodyBytesMax - body.length;
    const whole = await withReferredItems(archive, this.request, read, bytesMax, metadata, signal);
    const { asked, own } = whole;
    const added = (whole.request.wire?.body.length ?? 0) - body.length;
    const turns = await readHistory(archive, asked, bytesMax - added, metadata, signal);
    if (signal.aborted) return;
    if (asked.background) {
      const order = { request: whole.request, own, asked, turns, metadata, ...this.call };
      this.next = responseOf(await background.begin(order));
      this.stream.end();
      return;
    }
    const request = continued(whole.request, asked, turns);
    const historyBytes = (request.wire?.body.length ?? 0) - body.length;
    if (!room.take(historyBytes)) throw new WeirError(ErrorReason.OVERLOADED, { retryAfterMs: 1_000 });
    this.historyBytes = historyBytes;
    this.open(request, asked, own);
    this.stream.ready();
  }

  /** @param own what of the request is the client's own */
  private open(
    request: GenerateRequest,
    { store, inConversation, previousResponseId, input }: StoredRequest,
    own: GenerateRequest,
  ): void {
    const { chat, clock, room, settings } = this.deps;
    const { timeoutMs } = this.options;
    const leftMs = timeoutMs === undefined ? undefined : timeoutMs - (clock.monotonic() - this.beginMs);
    const { bytesMax, store: isStoring } = settings().responses;
    this.wantsStore = store && isStoring;
    this.isKept = this.wantsStore && !inConversation;
    this.answer = new AnswerRecord({ previousResponseId, input, bytesMax, room });
    const sent = request === own ? {} : { sent: own };
    const reply = chat.generate(request, { ...this.options, ...sent, timeoutMs: leftMs });
    reply.onReady = () => this.stream.ready();
    this.reply = reply;
  }

  /** The answer has ended: well, or without its last piece. */
  private replyEnded(answer: AnswerRecord): void {
    this.keepThen(answer.failed(new WeirError(ErrorReason.STREAM_TRUNCATED)), () => {
      this.release();
      this.stream.end();
    });
  }

  /** Goes on when the store has what there is for it. */
  private keepThen(ended: Ended | undefined, goOn: (isStored: boolean) => void): void {
    if (!this.isKept || ended === undefined) {
      goOn(false);
      return;
    }
    this.isStoring = true;
    void this.deps.archive.keep(ended, this.metadata).then((isStored) => {
      this.isStoring = false;
      if (this.leaving.signal.aborted) this.release();
      else goOn(isStored);
    });
  }

  private fail(thrown: unknown): void {
    this.release();
    this.stream.fail(asError(thrown));
  }

  private release(): void {
    this.answer?.release();
    this.deps.room.give(this.historyBytes);
    this.historyBytes = 0;
  }
}

function responseOf(value: WireChunk): GenerateResponse {
  return { $typeName: "weir.chat.v1.GenerateResponse", payload: { case: "wire", value } };
}

const noBytes = new Uint8Array();
