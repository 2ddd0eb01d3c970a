import { type DescMessage, fromBinary, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import {
  type End,
  EndSchema,
  type FrameSchema,
  type Headers,
  HeadersSchema,
  type Hello,
  HelloSchema,
  OpenRequestSchema,
} from "@weir/gen/weir/link/v1/link_service_pb";
import { ByteWriter } from "../byte-writer.ts";
import type { Metadata } from "../call.ts";
import { encode } from "../codec.ts";
import { WeirError } from "../weir-error.ts";
import { LinkFault } from "./fault.ts";
import { prefixBytes, writePrefix } from "./message-splitter.ts";
import { startBytesMax } from "./settings.ts";
import { usualText } from "./usual-text.ts";

/** Version of the link's protocol. */
export const linkVersion = 1;

/** Who takes the frames that `readFrames` finds. May throw LinkFault. */
export interface FrameReader {
  hello(hello: Hello): void;
  start(call: number, start: StartFrame): void;
  /** A part of a message: bytes `start` to `end` of `bytes`, which are only lent. */
  part(call: number, bytes: Buffer, start: number, end: number, more: boolean): void;
  /** `end` undefined: the call ended well, without metadata. */
  end(call: number, end: End | undefined): void;
  cancel(call: number): void;
  credit(call: number, bytes: number): void;
  ping(number: number): void;
  pong(number: number): void;
  drain(): void;
  headers(call: number, headers: Headers): void;
  finish(call: number): void;
}

export interface StartFrame {
  readonly method: string;
  readonly timeoutMs: number | undefined;
  readonly credit: number;
  readonly metadata: Metadata;
}

const kinds = {
  hello: 2,
  start: 3,
  part: 4,
  end: 5,
  cancel: 6,
  credit: 7,
  ping: 8,
  pong: 9,
  drain: 10,
  headers: 11,
  finish: 12,
};
const varintKinds: ReadonlySet<number> = new Set([kinds.credit, kinds.ping, kinds.pong]);

/**
 * Reads the frames of one OpenRequest or OpenResponse, which look alike.
 * @throws LinkFault when the bytes are no such message
 */
export function readFrames(bytes: Buffer, reader: FrameReader): void {
  const cursor = new Cursor(bytes, 0, bytes.length);
  while (cursor.at < cursor.end) {
    const tag = cursor.varint();
    if (tag !== 0x0a) {
      cursor.skip(tag & 7);
      continue;
    }
    const length = cursor.varint();
    if (length > cursor.end - cursor.at) throw malformed();
    readFrame(bytes, cursor.at, cursor.at + length, reader);
    cursor.at += length;
  }
}

function readFrame(bytes: Buffer, from: number, to: number, reader: FrameReader): void {
  const cursor = new Cursor(bytes, from, to);
  let call = 0;
  let kind = 0;
  let start = 0;
  let end = 0;
  let value = 0;
  while (cursor.at < to) {
    const tag = cursor.varint();
    const field = tag >>> 3;
    const wireType = tag & 7;
    if (field === 1 && wireType === 0) {
      call = cursor.varint();
    } else if (field >= kinds.hello && field <= kinds.finish && wireType === (varintKinds.has(field) ? 0 : 2)) {
      kind = field;
      if (wireType === 0) {
        value = cursor.varint();
      } else {
        const length = cursor.varint();
        start = cursor.at;
        end = start + length;
        if (end > to) throw malformed();
        cursor.at = end;
      }
    } else {
      cursor.skip(wireType);
    }
  }
  if (call > 0xffff_ffff || value > 0xffff_ffff) throw malformed();
  switch (kind) {
    case kinds.part:
      readPart(bytes, start, end, forCall(call), reader);
      break;
    case kinds.start:
      reader.start(forCall(call), readStart(bytes, start, end));
      break;
    case kinds.end:
      reader.end(forCall(call), start === end ? undefined : parse(EndSchema, bytes, start, end));
      break;
    case kinds.credit:
      reader.credit(forCall(call), value);
      break;
    case kinds.cancel:
      reader.cancel(forCall(call));
      break;
    case kinds.finish:
      reader.finish(forCall(call));
      break;
    case kinds.headers:
      reader.headers(forCall(call), parse(HeadersSchema, bytes, start, end));
      break;
    case kinds.hello:
      reader.hello(parse(HelloSchema, bytes, start, end));
      break;
    case kinds.ping:
      reader.ping(value);
      break;
    case kinds.pong:
      reader.pong(value);
      break;
    case kinds.drain:
      reader.drain();
      break;
    default:
      // A kind of a later version, or none: nothing that this version must obey.
      break;
  }
}

function forCall(call: number): number {
  if (call === 0) throw new LinkFault("a frame of a call names none");
  return call;
}

function readPart(bytes: Buffer, from: number, to: number, call: number, reader: FrameReader): void {
  const cursor = new Cursor(bytes, from, to);
  let start = from;
  let end = from;
  let more = false;
  while (cursor.at < to) {
    const tag = cursor.varint();
    if (tag === 0x0a) {
      const length = cursor.varint();
      start = cursor.at;
      end = start + length;
      if (end > to) throw malformed();
      cursor.at = end;
    } else if (tag === 0x10) {
      more = cursor.varint() !== 0;
    } else {
      cursor.skip(tag & 7);
    }
  }
  reader.part(call, bytes, start, end, more);
}

function readStart(bytes: Buffer, from: number, to: number): StartFrame {
  if (to - from > startBytesMax) throw new LinkFault("a start is too large", Code.ResourceExhausted);
  const cursor = new Cursor(bytes, from, to);
  let method = "";
  let timeoutMs: number | undefined;
  let credit = 0;
  const metadata: Record<string, string> = { __proto__: null } as never;
  while (cursor.at < to) {
    const tag = cursor.varint();
    switch (tag) {
      case 0x0a:
        method = cursor.usualText();
        break;
      case 0x10:
        timeoutMs = cursor.varint();
        break;
      case 0x18:
        credit = cursor.varint();
        break;
      case 0x22:
        readEntry(cursor, metadata);
        break;
      default:
        cursor.skip(tag & 7);
    }
  }
  if (credit > 0xffff_ffff || (timeoutMs ?? 0) > 0xffff_ffff) throw malformed();
  return { method, timeoutMs, credit, metadata };
}

function readEntry(cursor: Cursor, metadata: Record<string, string>): void {
  const { end } = cursor;
  const length = cursor.varint();
  const entryEnd = cursor.at + length;
  if (entryEnd > end) throw malformed();
  cursor.end = entryEnd;
  let name = "";
  let value = "";
  while (cursor.at < entryEnd) {
    const tag = cursor.varint();
    if (tag === 0x0a) name = cursor.usualText();
    else if (tag === 0x12) value = cursor.text();
    else cursor.skip(tag & 7);
  }
  cursor.end = end;
  metadata[name] = value;
}

function parse<S extends DescMessage>(schema: S, bytes: Buffer, start: number, end: number): MessageShape<S> {
  try {
    return fromBinary(schema, bytes.subarray(start, end));
  } catch {
    throw malformed();
  }
}

function malformed(): LinkFault {
  return new LinkFault("a message of the link is not valid protobuf");
}

/** A place in a range of bytes that cannot be left. */
class Cursor {
  at: number;
  end: number;
  private readonly bytes: Buffer;

  constructor(bytes: Buffer, at: number, end: number) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  /** Reads a varint of up to ten bytes; exact up to 2^53. */
  varint(): number {
    const { bytes, end } = this;
    let at = this.at;
    let value = 0;
    let scale = 1;
    for (let count = 0; count < 10; count += 1) {
      if (at >= end) throw malformed();
      const byte = bytes[at++] as number;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        this.at = at;
        return value;
      }
      scale *= 0x80;
    }
    throw malformed();
  }

  text(): string {
    const length = this.varint();
    const start = this.at;
    if (length > this.end - start) throw malformed();
    this.at = start + length;
    return this.bytes.toString("utf8", start, this.at);
  }

  /** A text that is likely one of a few. */
  usualText(): string {
    const length = this.varint();
    const start = this.at;
    if (length > this.end - start) throw malformed();
    this.at = start + length;
    return usualText(this.bytes, start, this.at);
  }

  skip(wireType: number): void {
    switch (wireType) {
      case 0:
        this.varint();
        return;
      case 1:
        this.at += 8;
        break;
      case 2: {
        const length = this.varint();
        this.at += length;
        break;
      }
      case 5:
        this.at += 4;
        break;
      default:
        throw malformed();
    }
    if (this.at > this.end) throw malformed();
  }
}

/** Not the writer of messages: a message is encoded before the frames that announce it. */
const frameWriter = new ByteWriter();

const batchInitial = 16 * 1024;
const batchKept = 1024 * 1024;
/** What a part's frame takes beside its data, at most. */
const partOverhead = 32;

/** Frames in the order in which they will leave. */
export class FrameBatch {
  private buffer = Buffer.allocUnsafeSlow(batchInitial);
  private size = 0;

  /** How many bytes are waiting. */
  get length(): number {
    return this.size;
  }

  /** Takes everything out: one message of the gRPC stream with its prefix, in memory of its own. */
  take(): Buffer {
    const taken = Buffer.allocUnsafe(prefixBytes + this.size);
    writePrefix(taken, this.size);
    this.buffer.copy(taken, prefixBytes, 0, this.size);
    this.size = 0;
    if (this.buffer.length > batchKept) this.buffer = Buffer.allocUnsafeSlow(batchInitial);
    return taken;
  }

  /** Any frame; for those that are frequent or large there are quicker ways below. */
  frame(call: number, kind: NonNullable<MessageInitShape<typeof FrameSchema>["kind"]>): void {
    const out = encode(OpenRequestSchema, { frames: [{ call, kind }] }, frameWriter);
    this.append(out);
  }

  /**
   * @param method the method's full name in UTF-8
   * @throws WeirError REQUEST_TOO_LARGE when there is more metadata than a peer accepts
   */
  start(
    call: number,
    method: Uint8Array,
    credit: number,
    timeoutMs: number | undefined,
    metadata: Metadata | undefined,
  ): void {
    const out = frameWriter;
    out.reset();
    for (const name in metadata) {
      const before = out.length;
      out.lengthAndText(metadata[name] ?? "");
      out.varint(0x12);
      out.lengthAndText(name);
      out.varint(0x0a);
      out.varint(out.length - before);
      out.varint(0x22);
    }
    out.varint(credit);
    out.varint(0x18);
    if (timeoutMs !== undefined) {
      out.varint(timeoutMs);
      out.varint(0x10);
    }
    out.lengthAndBytes(method);
    out.varint(0x0a);
    if (out.length > startBytesMax) {
      throw new WeirError(ErrorReason.REQUEST_TOO_LARGE, {
        text: "The call's metadata are too large.",
        metadata: { bytes_max: String(startBytesMax) },
      });
    }
    out.varint(out.length);
    out.varint((kinds.start << 3) | 2);
    out.varint(call);
    out.varint(0x08);
    out.varint(out.length);
    out.varint(0x0a);
    this.append(out);
  }

  /** A part that is a whole message, just encoded. */
  message(call: number, message: ByteWriter): void {
    const { length } = message;
    this.partHeader(call, length, false);
    message.copyTo(this.buffer, this.size);
    this.size += length;
  }

  /** A part: bytes `start` to `end`. */
  part(call: number, bytes: Uint8Array, start: number, end: number, more: boolean): void {
    this.partHeader(call, end - start, more);
    this.buffer.set(bytes.subarray(start, end), this.size);
    this.size += end - start;
  }

  /** The end of a call that went well and has no trailing metadata. */
  endWell(call: number): void {
    this.reserve(partOverhead);
    this.frameHeader(call, 2);
    this.byte((kinds.end << 3) | 2);
    this.byte(0);
  }

  credit(call: number, bytes: number): void {
    this.reserve(partOverhead);
    this.frameHeader(call, 1 + varintSize(bytes));
    this.byte(kinds.credit << 3);
    this.varint(bytes);
  }

  private append(out: ByteWriter): void {
    const { length } = out;
    this.reserve(length);
    out.copyTo(this.buffer, this.size);
    this.size += length;
  }

  private partHeader(call: number, length: number, more: boolean): void {
    this.reserve(length + partOverhead);
    const dataSize = length === 0 ? 0 : 1 + varintSize(length) + length;
    const partSize = dataSize + (more ? 2 : 0);
    this.frameHeader(call, 1 + varintSize(partSize) + partSize);
    this.byte((kinds.part << 3) | 2);
    this.varint(partSize);
    // `more` goes first, so that the data can follow without a second copy.
    if (more) {
      this.byte(0x10);
      this.byte(1);
    }
    if (length > 0) {
      this.byte(0x0a);
      this.varint(length);
    }
  }

  private frameHeader(call: number, kindSize: number): void {
    this.byte(0x0a);
    this.varint(1 + varintSize(call) + kindSize);
    this.byte(0x08);
    this.varint(call);
  }

  private byte(value: number): void {
    this.buffer[this.size] = value;
    this.size += 1;
  }

  private varint(value: number): void {
    let rest = value;
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) this.byte((rest % 0x80) | 0x80);
    this.byte(rest);
  }

  private reserve(size: number): void {
    const needed = this.size + size;
    if (needed <= this.buffer.length) return;
    let capacity = this.buffer.length * 2;
    while (capacity < needed) capacity *= 2;
    const grown = Buffer.allocUnsafeSlow(capacity);
    this.buffer.copy(grown, 0, 0, this.size);
    this.buffer = grown;
  }
}

function varintSize(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x20_0000) return 3;
  return value < 0x1000_0000 ? 4 : 5;
}
