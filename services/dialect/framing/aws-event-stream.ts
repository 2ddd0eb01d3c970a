import { crc32 } from "node:zlib";
import { EventStreamCodec, type MessageHeaders } from "@smithy/eventstream-codec";
import type { Frame } from "../codec.ts";
import { createKeptBytes } from "../sse/kept-bytes.ts";
import type { FrameSplitter, FramingFault } from "./splitter.ts";

// https://smithy.io/2.0/aws/amazon-eventstream.html
const preludeBytes = 12;
const messageBytesMin = 16;

const exceptionPrefix = "exception:";
const errorPrefix = "error:";

/**
 * Messages of AWS, each with its length in front and checksums of the length and of the whole. A frame's type is the
 * message's `:event-type`; for an exception it is `exception:` and its `:exception-type`, for an error `error:` and its
 * `:error-code`.
 */
export function createAwsEventSplitter(frameBytesMax: number): FrameSplitter {
  const kept = createKeptBytes();
  const codec = createCodec();
  let messageBytes = 0; // of the message that is kept, once its prelude is
  let fault: FramingFault | undefined;

  /** The length of the message that a prelude announces; 0 for one that cannot be, which is a fault. */
  function readPrelude(bytes: Buffer, at: number): number {
    const length = bytes.readUInt32BE(at);
    const sound = crc32(bytes.subarray(at, at + 8)) === bytes.readUInt32BE(at + 8);
    if (!sound || length < messageBytesMin || bytes.readUInt32BE(at + 4) > length - messageBytesMin) {
      fault = { kind: "malformed" };
    } else if (length > frameBytesMax) fault = { kind: "too-long" };
    return fault === undefined ? length : 0;
  }

  function readMessage(message: Buffer, out: Frame[]): void {
    try {
      out.push(codec.decode(message));
    } catch {
      fault = { kind: "malformed" }; // the library's text quotes what it read
    }
  }

  /** Takes the message that begins at an offset, or keeps what there is of it. @returns where it ends */
  function begin(bytes: Buffer, at: number, out: Frame[]): number {
    const { length } = bytes;
    messageBytes = length - at < preludeBytes ? 0 : readPrelude(bytes, at);
    if (fault !== undefined) return length;
    if (messageBytes === 0 || at + messageBytes > length) {
      kept.append(bytes.subarray(at));
      return length;
    }
    readMessage(bytes.subarray(at, at + messageBytes), out);
    return at + messageBytes;
  }

  /** Adds to the message that is kept. @returns where its bytes end */
  function resume(bytes: Buffer, at: number, out: Frame[]): number {
    const wanted = (messageBytes === 0 ? preludeBytes : messageBytes) - kept.length();
    const end = Math.min(at + wanted, bytes.length);
    if (end - at < wanted || messageBytes === 0) kept.append(bytes.subarray(at, end));
    else readMessage(kept.take(bytes.subarray(at, end)), out);
    if (messageBytes === 0 && end - at === wanted) messageBytes = readPrelude(kept.view(), 0);
    return end;
  }

  return {
    push(bytes, out) {
      for (let at = 0; at < bytes.length && fault === undefined; ) {
        at = kept.length() === 0 ? begin(bytes, at, out) : resume(bytes, at, out);
      }
    },
    end() {
      if (kept.length() > 0) fault ??= { kind: "malformed" };
    },
    keptBytes: kept.length,
    get fault() {
      return fault;
    },
  };
}

/** Reads messages whose checksums and headers it checks. */
function createCodec() {
  let messageEnd = 0;
  const codec = new EventStreamCodec((bytes) => {
    // The library does not check that a header's text ends inside the message.
    if (typeof bytes === "string" || bytes.byteOffset + bytes.byteLength > messageEnd) throw new RangeError();
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8");
  }, textBytes);

  return {
    decode(message: Buffer): Frame {
      messageEnd = message.byteOffset + message.byteLength;
      const { headers, body } = codec.decode(message);
      const data = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString("utf8");
      return { type: frameType(headers), data };
    },
  };
}

function frameType(headers: MessageHeaders): string {
  switch (headerText(headers, ":message-type")) {
    case "exception":
      return exceptionPrefix + headerText(headers, ":exception-type");
    case "error":
      return errorPrefix + headerText(headers, ":error-code");
    default:
      return headerText(headers, ":event-type");
  }
}

function headerText(headers: MessageHeaders, name: string): string {
  const header = Object.hasOwn(headers, name) ? headers[name] : undefined;
  return header?.type === "string" ? header.value : "";
}

/** The message for one frame. */
export function awsEventMessage({ type, data }: Frame): Uint8Array {
  const headers: MessageHeaders = {};
  if (type.startsWith(exceptionPrefix)) {
    headers[":exception-type"] = textHeader(type.slice(exceptionPrefix.length));
    headers[":content-type"] = textHeader("application/json");
    headers[":message-type"] = textHeader("exception");
  } else if (type.startsWith(errorPrefix)) {
    headers[":error-code"] = textHeader(type.slice(errorPrefix.length));
    headers[":message-type"] = textHeader("error");
  } else {
    headers[":event-type"] = textHeader(type);
    headers[":content-type"] = textHeader("application/json");
    headers[":message-type"] = textHeader("event");
  }
  return writer.encode({ headers, body: textBytes(data) });
}

function textHeader(value: string) {
  return { type: "string" as const, value };
}

function textBytes(text: string): Uint8Array {
  return Buffer.from(text, "utf8");
}

const writer = new EventStreamCodec(() => "", textBytes);
