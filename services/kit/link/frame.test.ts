import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type Frame, OpenRequestSchema } from "@weir/gen/weir/link/v1/link_service_pb";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encode } from "../codec.ts";
import { TargetSchema } from "@weir/gen/weir/routing/v1/target_pb";
import { LinkFault } from "./fault.ts";
import { FrameBatch, type FrameReader, readFrames } from "./frame.ts";
import { prefixBytes } from "./message-splitter.ts";

/** Writes down what it is told. */
function recorder(): { frames: unknown[]; reader: FrameReader } {
  const frames: unknown[] = [];
  const add =
    (kind: string) =>
    (...args: unknown[]) =>
      void frames.push([kind, ...args]);
  const reader: FrameReader = {
    hello: ({ version, messageBytesMax, callsMax, peer }) =>
      add("hello")(0, { version, messageBytesMax, callsMax, peer }),
    start: (call, { method, timeoutMs, credit, metadata }) =>
      add("start")(call, { method, timeoutMs, credit, metadata: { ...metadata } }),
    part: (call, bytes, start, end, more) => add("part")(call, bytes.subarray(start, end).toString("hex"), more),
    end: (call, end) =>
      add("end")(call, end === undefined ? { code: 0, message: "" } : { code: end.code, message: end.message }),
    cancel: add("cancel"),
    credit: add("credit"),
    ping: (number) => add("ping")(0, number),
    pong: (number) => add("pong")(0, number),
    drain: () => add("drain")(0),
    headers: (call, { metadata }) => add("headers")(call, { ...metadata }),
    finish: add("finish"),
  };
  return { frames, reader };
}

/** The same notes, from what protobuf-es reads. */
function noted({ call, kind }: Frame): unknown {
  switch (kind.case) {
    case "hello": {
      const { version, messageBytesMax, callsMax, peer } = kind.value;
      return ["hello", 0, { version, messageBytesMax, callsMax, peer }];
    }
    case "start": {
      const { method, timeoutMs, credit, metadata } = kind.value;
      return ["start", call, { method, timeoutMs, credit, metadata: { ...metadata } }];
    }
    case "part":
      return ["part", call, Buffer.from(kind.value.data).toString("hex"), kind.value.more];
    case "end":
      return ["end", call, { code: kind.value.code, message: kind.value.message }];
    case "credit":
      return ["credit", call, kind.value];
    case "ping":
    case "pong":
      return [kind.case, 0, kind.value];
    case "drain":
      return ["drain", 0];
    case "headers":
      return ["headers", call, { ...kind.value.metadata }];
    case "cancel":
    case "finish":
      return [kind.case, call];
    case undefined:
      return undefined;
  }
}

const uint32 = fc.integer({ min: 0, max: 0xffff_ffff });
const call = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 0xffff_ffff }));
const text = fc.string({ unit: "binary", maxLength: 60 });
const name = fc.oneof(
  fc.string({ minLength: 1, maxLength: 30 }),
  fc.constantFrom("traceparent", "weir-request-id", "tracestate"),
);
const metadata = fc.dictionary(name, text, { maxKeys: 4 });
const data = fc.uint8Array({ maxLength: 400 });

/** One frame: how it is written. */
const writes: fc.Arbitrary<(batch: FrameBatch) => void> = fc.oneof(
  fc.record({ call, data, more: fc.boolean() }).map(
    ({ call, data, more }) =>
      (batch: FrameBatch) =>
        batch.part(call, data, 0, data.length, more),
  ),
  fc.record({ call, provider: text }).map(
    ({ call, provider }) =>
      (batch: FrameBatch) =>
        batch.message(call, encode(TargetSchema, { provider })),
  ),
  fc.record({ call, method: text, credit: uint32, timeoutMs: fc.option(uint32, { nil: undefined }), metadata }).map(
    ({ call, method, credit, timeoutMs, metadata }) =>
      (batch: FrameBatch) =>
        batch.start(call, Buffer.from(method), credit, timeoutMs, metadata),
  ),
  call.map((call) => (batch: FrameBatch) => batch.endWell(call)),
  fc.record({ call, bytes: uint32 }).map(
    ({ call, bytes }) =>
      (batch: FrameBatch) =>
        batch.credit(call, bytes),
  ),
  fc.record({ call, code: fc.nat(16), message: text }).map(
    ({ call, ...value }) =>
      (batch: FrameBatch) =>
        batch.frame(call, { case: "end", value }),
  ),
  fc.record({ call, metadata }).map(
    ({ call, metadata }) =>
      (batch: FrameBatch) =>
        batch.frame(call, { case: "headers", value: { metadata } }),
  ),
  call.map((call) => (batch: FrameBatch) => batch.frame(call, { case: "cancel", value: {} })),
  call.map((call) => (batch: FrameBatch) => batch.frame(call, { case: "finish", value: {} })),
  uint32.map((value) => (batch: FrameBatch) => batch.frame(0, { case: "ping", value })),
  fc.constant((batch: FrameBatch) => batch.frame(0, { case: "drain", value: {} })),
  fc
    .record({ version: uint32, messageBytesMax: uint32, callsMax: uint32, peer: text })
    .map((value) => (batch: FrameBatch) => batch.frame(0, { case: "hello", value })),
);

test("any frames in any order: what is written is what protobuf-es and this side read", () => {
  fc.assert(
    fc.property(fc.array(writes, { maxLength: 20 }), (list) => {
      const batch = new FrameBatch();
      for (const write of list) write(batch);
      const bytes = batch.take().subarray(prefixBytes);
      const expected = fromBinary(OpenRequestSchema, bytes).frames.map(noted);
      expect(expected).toHaveLength(list.length);
      const { frames, reader } = recorder();
      readFrames(bytes, reader);
      expect(frames).toEqual(expected);
      // In the order in which protobuf-es writes the fields, too.
      const again = recorder();
      readFrames(Buffer.from(toBinary(OpenRequestSchema, fromBinary(OpenRequestSchema, bytes))), again.reader);
      expect(again.frames).toEqual(expected);
    }),
  );
});

describe("bytes that are no frames", () => {
  /** Reads; anything but a LinkFault is a defect. */
  const survives = (bytes: Uint8Array): void => {
    try {
      readFrames(Buffer.from(bytes), recorder().reader);
    } catch (error) {
      expect(error).toBeInstanceOf(LinkFault);
    }
  };

  test("random bytes", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), survives), { numRuns: 2000 });
  });

  test("true frames with bytes changed, and cut at every place", () => {
    fc.assert(
      fc.property(fc.array(writes, { minLength: 1, maxLength: 4 }), fc.nat(), fc.nat(255), (list, place, byte) => {
        const batch = new FrameBatch();
        for (const write of list) write(batch);
        const bytes = batch.take().subarray(prefixBytes);
        for (let cut = 0; cut < Math.min(bytes.length, 200); cut += 1) survives(bytes.subarray(0, cut));
        bytes[place % bytes.length] = byte;
        survives(bytes);
      }),
      { numRuns: 300 },
    );
  });

  test.each([
    ["a length beyond the end", [0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]],
    ["a length of 2^63", [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]],
    ["a varint without end", Array.from({ length: 20 }, () => 0xff)],
    ["a call beyond 32 bits", [0x0a, 0x09, 0x08, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x38, 0x01]],
    ["a part beyond its frame", [0x0a, 0x06, 0x08, 0x01, 0x22, 0x09, 0x0a, 0x00]],
    ["a part of no call", [0x0a, 0x02, 0x22, 0x00]],
  ])("%s is a fault", (_name, bytes) => {
    expect(() => readFrames(Buffer.from(bytes), recorder().reader)).toThrow(LinkFault);
  });

  test("fields of later versions are passed over", () => {
    const frame = toBinary(
      OpenRequestSchema,
      create(OpenRequestSchema, { frames: [{ call: 1, kind: { case: "cancel", value: {} } }] }),
    );
    // Beside the frames: a varint, a fixed64 and a text; a frame of a kind that does not exist yet.
    const later = [
      0x78, 0x05, 0x79, 1, 2, 3, 4, 5, 6, 7, 8, 0x7a, 0x01, 0x61, 0x0a, 0x05, 0x08, 0x01, 0x9a, 0x06, 0x00,
    ];
    const { frames, reader } = recorder();
    readFrames(Buffer.from([...later, ...frame]), reader);
    expect(frames).toEqual([["cancel", 1]]);
  });
});

test("a batch larger than its buffer, and the buffer let go afterwards", () => {
  const batch = new FrameBatch();
  const bytes = Buffer.alloc(3_000_000, 5);
  batch.part(1, bytes, 0, bytes.length, false);
  const [frame] = fromBinary(OpenRequestSchema, batch.take().subarray(prefixBytes)).frames;
  expect(frame?.kind.case === "part" && bytes.equals(frame.kind.value.data)).toBe(true);
  expect(batch.take().subarray(prefixBytes)).toHaveLength(0);
});
