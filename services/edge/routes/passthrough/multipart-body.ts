import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import type { Alarm } from "../../alarms.ts";
import { BodyAborted } from "../../http/body.ts";
import type { Exchange } from "../../http/exchange.ts";
import type { BodyItem } from "./call-body.ts";
import type { UploadCheck } from "./batch-upload.ts";
import { DiskQuota } from "./disk-quota.ts";
import { boundaryOf, MultipartReader } from "./multipart.ts";
import { Spool } from "./spool.ts";

/** What all bodies may hold on disk. */
const disk = new DiskQuota(4 * 1024 * 1024 * 1024);

export interface MultipartLimits {
  /** Largest body, in bytes. */
  readonly bytesMax: number;
  /** Longest pause of the client, in milliseconds. */
  readonly stallMs: number;
  /** What a client must send each second, on average, beyond the first `stallMs`. */
  readonly bytesPerSecondMin: number;
}

/**
 * A body of multipart/form-data on its way through. What comes before the model's name is kept aside, since nobody knows yet where
 * the call goes; from then on the client is read only as fast as the provider takes it. Has an alarm of its own, since that of the
 * exchange may watch over a client that does not read: an answer can begin before the body has ended.
 */
export class MultipartBody {
  private readonly exchange: Exchange;
  private readonly limits: MultipartLimits;
  private readonly check: UploadCheck | undefined;
  private readonly reader: MultipartReader;
  private readonly chunks: AsyncIterator<Buffer>;
  private readonly spool: Spool;
  private readonly beganMs: number;
  /** What was read and has not gone on. */
  private ready: BodyItem[] = [];
  private bytes = 0;
  private ended = false;
  private modelName: string | undefined;
  private readonly fields = new Map<string, string>();

  /** @throws WeirError UNSUPPORTED_MEDIA_TYPE, INVALID_REQUEST, REQUEST_TOO_LARGE */
  constructor(exchange: Exchange, limits: MultipartLimits, check?: UploadCheck) {
    const { headers } = exchange.request;
    const boundary = boundaryOf(headers["content-type"] ?? "");
    const encoding = headers["content-encoding"] ?? "identity";
    if (boundary === undefined || encoding !== "identity") throw new WeirError(ErrorReason.UNSUPPORTED_MEDIA_TYPE);
    this.exchange = exchange;
    this.limits = limits;
    this.check = check;
    this.spool = new Spool(disk, exchange.caller?.tenant ?? "");
    this.beganMs = exchange.nowMs;
    if (Number(headers["content-length"] ?? 0) > limits.bytesMax) throw this.tooLarge();
    this.reader = new MultipartReader(boundary, {
      bytes: (piece) => this.ready.push(piece),
      model: (name) => {
        this.modelName = name;
        this.ready.push("model");
      },
      field: (name, value) => {
        this.fields.set(name, value);
        if (name === "purpose") check?.purpose(value);
      },
      content: (piece) => check?.content(piece),
    });
    // Left early, the connection must stay for the answer.
    this.chunks = exchange.request.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>;
    exchange.askForBody();
  }

  /** Length of the body without the model's name, where the client says how long it is; to be asked when the model is known. */
  get bytesWithoutModel(): number | undefined {
    const length = this.exchange.request.headers["content-length"];
    return length === undefined ? undefined : Number(length) - Buffer.byteLength(this.modelName ?? "");
  }

  /** A short field, if it has come. */
  field(name: string): string | undefined {
    return this.fields.get(name);
  }

  /**
   * Reads on until the model's name has come, or the end.
   * @returns undefined: there is none
   */
  async model(): Promise<string | undefined> {
    while (this.modelName === undefined && (await this.more())) {
      if (this.modelName !== undefined) break;
      for (const item of this.ready.splice(0)) if (item !== "model") await this.spool.add(Buffer.from(item));
    }
    return this.modelName;
  }

  /** The whole body, in order; read as it is asked for. */
  async *items(): AsyncGenerator<BodyItem> {
    try {
      // What was kept stands before what is ready.
      yield* this.spool.read();
      await this.spool.close();
      do yield* this.ready.splice(0);
      while (await this.more());
      yield* this.ready.splice(0);
    } finally {
      await this.close();
    }
  }

  /** Lets go of what was kept, and of the client's connection. Safe to call twice. */
  async close(): Promise<void> {
    await this.spool.close();
    // Not awaited: it waits for the client, from whom nothing may come any more.
    if (!this.ended) void this.chunks.return?.();
  }

  /** @returns false at the end */
  private async more(): Promise<boolean> {
    if (this.ended) return false;
    const { stallMs, bytesPerSecondMin, bytesMax } = this.limits;
    const lateMs = this.beganMs + stallMs + (this.bytes / bytesPerSecondMin) * 1_000;
    const result = await this.within(Math.min(stallMs, lateMs - this.exchange.nowMs));
    if (result.done === true) {
      this.ended = true;
      if (!this.exchange.request.complete) throw new BodyAborted();
      this.reader.end();
      return false;
    }
    this.bytes += result.value.length;
    if (this.bytes > bytesMax) throw this.tooLarge();
    this.reader.write(result.value);
    const checking = this.check?.passing();
    if (checking !== undefined) await checking;
    return true;
  }

  /** The next bytes of the client, if they come in time. */
  private within(waitMs: number): Promise<IteratorResult<Buffer, unknown>> {
    const { exchange } = this;
    const { alarms } = exchange;
    return new Promise((resolve, reject) => {
      const late: Alarm = {
        dueMs: alarms.nowMs + Math.max(0, waitMs),
        ring() {
          exchange.bodyEnded = true;
          reject(new WeirError(ErrorReason.REQUEST_TIMEOUT));
        },
      };
      alarms.add(late);
      this.chunks.next().then(
        (result) => {
          alarms.delete(late);
          resolve(result);
        },
        () => {
          alarms.delete(late);
          reject(new BodyAborted());
        },
      );
    });
  }

  private tooLarge(): WeirError {
    const { bytesMax } = this.limits;
    return new WeirError(ErrorReason.REQUEST_TOO_LARGE, {
      text: `The request body is larger than ${bytesMax} bytes.`,
      metadata: { bytes_max: String(bytesMax) },
    });
  }
}
