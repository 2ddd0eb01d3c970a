import type { CallPiece } from "@weir/gen/weir/passthrough/v1/forward_pb";

/** Largest piece of a body in one message. */
const pieceBytesMax = 65_536;

/** The body of a call: bytes, and the places where the model's name belongs. */
export type BodyItem = Buffer | "model";

/** Items as messages carry them. */
export function* toPieces(items: Iterable<BodyItem>): Generator<CallPiece> {
  for (const item of items) {
    if (item === "model") {
      yield piece(noBytes, true);
      continue;
    }
    for (let at = 0; at < item.length; at += pieceBytesMax) yield piece(item.subarray(at, at + pieceBytesMax), false);
  }
}

function piece(data: Buffer, model: boolean): CallPiece {
  return { $typeName: "weir.passthrough.v1.CallPiece", data, model };
}

const noBytes: Buffer = Buffer.alloc(0);
