import { createGunzip, createInflate } from "node:zlib";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { requestTooLarge } from "../serving.ts";
import { WeirError } from "../weir-error.ts";

/** Encodings of messages that are read, as `grpc-accept-encoding` says it. */
export const acceptedEncodings = "identity,gzip,deflate";

/** What a message may be compressed by. */
export type Packing = "gzip" | "deflate";

/** What `grpc-encoding` says; undefined: messages are not compressed. */
export function packingOf(encoding: string | string[] | undefined): Packing | "unknown" | undefined {
  if (encoding === undefined || encoding === "identity") return undefined;
  return encoding === "gzip" || encoding === "deflate" ? encoding : "unknown";
}

/** The answer to a compression that is not known here. */
export function unknownPacking(): WeirError {
  return new WeirError(ErrorReason.METHOD_NOT_ALLOWED, {
    text: `Messages may be compressed by one of ${acceptedEncodings}.`,
  });
}

/** Where messages get their room. */
export interface MessageRoom {
  /** Asks for room for so many bytes. @returns false: there is none, and nothing was taken */
  take(bytes: number): boolean;
  /** The failure of a message that there is no room for. */
  noRoom(): WeirError;
}

/** Unpacks a message on other threads; nothing beyond `bytesMax` or the room is kept. Calls back once. */
export function unpack(
  packing: Packing,
  bytes: Buffer,
  bytesMax: number,
  room: MessageRoom,
  done: (outcome: Buffer | WeirError) => void,
): void {
  const unpacker = packing === "gzip" ? createGunzip() : createInflate();
  const parts: Buffer[] = [];
  let length = 0;
  let isDone = false;
  const finish = (outcome: () => Buffer | WeirError): void => {
    if (isDone) return;
    isDone = true;
    unpacker.destroy();
    done(outcome());
  };
  unpacker.on("data", (part: Buffer) => {
    length += part.length;
    if (length > bytesMax) finish(() => requestTooLarge(bytesMax));
    else if (!room.take(part.length)) finish(() => room.noRoom());
    else parts.push(part);
  });
  unpacker.on("end", () => finish(() => Buffer.concat(parts, length)));
  unpacker.on("error", () =>
    finish(() => new WeirError(ErrorReason.INVALID_REQUEST, { text: `The message is no ${packing}.` })),
  );
  unpacker.end(bytes);
}
