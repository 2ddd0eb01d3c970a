import { EventStreamCodec, type MessageHeaders } from "@smithy/eventstream-codec";
import { crc32 as crc } from "node:zlib";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Frame, Framing } from "../codec.ts";
import { createFrameSplitter } from "./splitter.ts";
import { writeFrames } from "./writer.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 2_000);

const framings = ["sse", "ndjson", "aws-event-stream"] as const satisfies readonly Framing[];

function split(framing: Framing, pieces: readonly Buffer[], frameBytesMax?: number) {
  const splitter = createFrameSplitter(framing, frameBytesMax === undefined ? {} : { frameBytesMax });
  const frames: Frame[] = [];
  for (const piece of pieces) splitter.push(piece, frames);
  splitter.end(frames);
  return { frames, fault: splitter.fault?.kind };
}

function splitText(framing: Framing, text: string, frameBytesMax?: number) {
  return split(framing, [Buffer.from(text)], frameBytesMax);
}

function cut(bytes: Buffer, offsets: readonly number[]): Buffer[] {
  const sorted = offsets.map((offset) => offset % (bytes.length + 1)).sort((a, b) => a - b);
  // Each piece is a copy of its own, as pieces from a socket are.
  return [0, ...sorted].map((offset, index) => Buffer.from(bytes.subarray(offset, sorted[index] ?? bytes.length)));
}

const offsets = fc.array(fc.nat(), { maxLength: 12 });

const sseSoup = fc.string({
  unit: fc.constantFrom(
    "a",
    "é",
    "🙂",
    "\n",
    "\r",
    "\r\n",
    "\n\n",
    ": b",
    "data: ",
    "data:{}",
    "event: x",
    "[DONE]",
    "\uFEFF",
  ),
  maxLength: 30,
});
const lineSoup = fc.string({
  unit: fc.constantFrom("{}", "é", "🙂", "\n", "\r\n", " ", '{"a":1}', "{"),
  maxLength: 30,
});

const codec = new EventStreamCodec(
  (bytes) => Buffer.from(bytes as Uint8Array).toString(),
  (text) => Buffer.from(text),
);

function message(headers: MessageHeaders, body: string): Buffer {
  return Buffer.from(codec.encode({ headers, body: Buffer.from(body) }));
}

const event = (type: string): MessageHeaders => ({
  ":event-type": { type: "string", value: type },
  ":content-type": { type: "string", value: "application/json" },
  ":message-type": { type: "string", value: "event" },
});

const messageSoup = fc
  .array(
    fc.oneof(
      { weight: 6, arbitrary: fc.string({ maxLength: 20 }).map((text) => message(event("x"), text)) },
      { weight: 1, arbitrary: fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)) },
    ),
    { maxLength: 4 },
  )
  .map((messages) => Buffer.concat(messages));

const soups: readonly (readonly [Framing, fc.Arbitrary<Buffer>])[] = [
  ["sse", sseSoup.map((text) => Buffer.from(text))],
  ["ndjson", lineSoup.map((text) => Buffer.from(text))],
  ["aws-event-stream", messageSoup],
];

test.each(soups)("%s: however the bytes are cut, the frames and the fault are the same", (framing, soup) => {
  fc.assert(
    fc.property(soup, offsets, fc.option(fc.integer({ min: 1, max: 120 })), (bytes, at, limit) => {
      const limits = limit === null ? [] : [limit];
      expect(split(framing, cut(bytes, at), ...limits)).toEqual(split(framing, [bytes], ...limits));
    }),
    { numRuns },
  );
});

test.each(framings)("%s: hostile bytes never throw", (framing) => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc.constantFrom("", "\n", "\r", "data:", "{").map(Buffer.from),
  );
  fc.assert(
    fc.property(fc.array(bytes, { maxLength: 6 }), (pieces) => {
      split(
        framing,
        pieces.map((piece) => Buffer.from(piece)),
      );
    }),
    { numRuns },
  );
});

test("a damaged byte of an AWS message is a fault, wherever it is", () => {
  const whole = message(event("messageStop"), '{"stopReason":"end_turn"}');
  fc.assert(
    fc.property(fc.nat({ max: whole.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const damaged = Buffer.from(whole);
      damaged[at] = (damaged[at] ?? 0) ^ flip;
      expect(split("aws-event-stream", [damaged])).toEqual({ frames: [], fault: "malformed" });
    }),
    { numRuns },
  );
});

const json = fc.jsonValue({ maxDepth: 2 }).map((value) => JSON.stringify({ value }));
const pretty = fc.jsonValue({ maxDepth: 2 }).map((value) => JSON.stringify({ value }, null, 1));

test.each(framings)("%s: frames survive the way to bytes and back", (framing) => {
  const type = framing === "ndjson" ? fc.constant("") : fc.constantFrom("", "message_stop", "exception:a", "error:b");
  const frame = fc.record({ type, data: fc.oneof(json, pretty) });
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 5 }), offsets, (frames, at) => {
      const bytes = Buffer.from(writeFrames(framing, frames));
      const back = split(framing, cut(bytes, at));
      expect(back.fault).toBeUndefined();
      expect(back.frames.map(({ type, data }) => ({ type, data: JSON.parse(data) as unknown }))).toEqual(
        frames.map(({ type, data }) => ({ type, data: JSON.parse(data) as unknown })),
      );
    }),
    { numRuns },
  );
});

test("server-sent events are written with a type only where there is one", () => {
  const frames = [
    { type: "", data: "{}" },
    { type: "ping", data: "[DONE]" },
    { type: "", data: '{\r\n"a":\n1}' },
  ];
  expect(writeFrames("sse", frames)).toBe('data: {}\n\nevent: ping\ndata: [DONE]\n\ndata: {\ndata: "a":\ndata: 1}\n\n');
  expect(writeFrames("ndjson", frames.slice(2))).toBe('{ "a": 1}\n');
  expect(writeFrames("sse", [])).toBe("");
});

test.each<[string, string, Frame[]]>([
  ["comments are no frames", ": ping\n\ndata: {}\n\n", [{ type: "", data: "{}" }]],
  ["an event without data is none", "event: ping\n\nevent: x\ndata:\n\n", []],
  ["white space is no data", "data:   \n\n", []],
  ["a byte order mark", "\uFEFFdata: {}\n\n", [{ type: "", data: "{}" }]],
  ["a byte order mark before a blank line", "\uFEFF\n\ndata: {}\n\n", [{ type: "", data: "{}" }]],
  ["a byte order mark later on", "data: {}\n\n\uFEFFdata: {}\n\n", [{ type: "", data: "{}" }]],
  [
    "CR, LF and CRLF",
    "event: a\r\ndata: 1\r\rdata: 2\n\ndata: 3\r\n\r\n",
    [
      { type: "a", data: "1" },
      { type: "", data: "2" },
      { type: "", data: "3" },
    ],
  ],
  ["several lines of data", "data: {\ndata: }\n\n", [{ type: "", data: "{\n}" }]],
  ["no blank line at the end", 'data: {"a":1}', [{ type: "", data: '{"a":1}' }]],
  ["no blank line after the end mark", "event: x\ndata: [DONE]\n", [{ type: "x", data: "[DONE]" }]],
  ["a CR as the last blank line", "data: half\r\n\r", [{ type: "", data: "half" }]],
  ["a comment at the end", ": ping", []],
  ["many scripts", "data: é🙂漢\n\n", [{ type: "", data: "é🙂漢" }]],
])("server-sent events: %s", (_, text, frames) => {
  expect(splitText("sse", text)).toEqual({ frames, fault: undefined });
});

test.each<[string, string, Frame[]]>([
  [
    "LF and CRLF",
    '{"a":1}\n{"b":2}\r\n',
    [
      { type: "", data: '{"a":1}' },
      { type: "", data: '{"b":2}' },
    ],
  ],
  ["blank lines", "\n \r\n{}\n\n", [{ type: "", data: "{}" }]],
  [
    "a last line without line end",
    "{}\n{}",
    [
      { type: "", data: "{}" },
      { type: "", data: "{}" },
    ],
  ],
  ["a last line without its LF", "{}\r", [{ type: "", data: "{}" }]],
  ["many scripts", '{"a":"é🙂漢"}\n', [{ type: "", data: '{"a":"é🙂漢"}' }]],
  ["a line that is no JSON is the reader's to judge", "hello\n", [{ type: "", data: "hello" }]],
])("lines: %s", (_, text, frames) => {
  expect(splitText("ndjson", text)).toEqual({ frames, fault: undefined });
});

test.each<[Framing, string]>([
  ["sse", 'data: {}\n\ndata: {"a'],
  ["ndjson", '{}\n{"a'],
])("%s: bytes that stop inside a frame are a fault", (framing, text) => {
  expect(splitText(framing, text)).toEqual({ frames: [{ type: "", data: "{}" }], fault: "malformed" });
});

test("an AWS message that stops before its end is a fault", () => {
  const whole = message(event("a"), "{}");
  for (let length = 1; length < whole.length; length += 1) {
    expect(split("aws-event-stream", [whole, whole.subarray(0, length)])).toEqual({
      frames: [{ type: "a", data: "{}" }],
      fault: "malformed",
    });
  }
});

test.each<[string, MessageHeaders, string]>([
  ["an event", event("contentBlockDelta"), "contentBlockDelta"],
  [
    "an exception",
    {
      ":exception-type": { type: "string", value: "throttlingException" },
      ":message-type": { type: "string", value: "exception" },
    },
    "exception:throttlingException",
  ],
  [
    "an error",
    { ":error-code": { type: "string", value: "500" }, ":message-type": { type: "string", value: "error" } },
    "error:500",
  ],
  [
    "headers of every kind",
    {
      a: { type: "boolean", value: true },
      b: { type: "integer", value: -1 },
      c: { type: "binary", value: Buffer.from("x") },
      d: { type: "timestamp", value: new Date(0) },
      e: { type: "uuid", value: "00000000-0000-4000-8000-000000000000" },
      ...event("x"),
    },
    "x",
  ],
  ["a type that is no text", { ":event-type": { type: "boolean", value: true } }, ""],
  ["no headers", {}, ""],
])("the type of an AWS message: %s", (_, headers, type) => {
  expect(split("aws-event-stream", [message(headers, '{"é":1}')])).toEqual({
    frames: [{ type, data: '{"é":1}' }],
    fault: undefined,
  });
});

test("the official codec reads our AWS messages", () => {
  const bytes = writeFrames("aws-event-stream", [
    { type: "exception:modelStreamErrorException", data: '{"message":"é"}' },
  ]);
  const { headers, body } = codec.decode(bytes as Buffer);
  expect(Buffer.from(body).toString()).toBe('{"message":"é"}');
  expect(headers).toEqual({
    ":exception-type": { type: "string", value: "modelStreamErrorException" },
    ":content-type": { type: "string", value: "application/json" },
    ":message-type": { type: "string", value: "exception" },
  });
});

test("a header of an AWS message never reaches into what lies behind it", () => {
  const body = Buffer.from("{}");
  const name = Buffer.from(":event-type");
  const headers = Buffer.concat([Buffer.from([name.length]), name, Buffer.from([7, 0, 200]), Buffer.from("short")]);
  // The codec writes headers from objects only, so the bytes are put where a body would be and the length is set.
  const whole = Buffer.from(codec.encode({ headers: {}, body: Buffer.concat([headers, body]) }));
  whole.writeUInt32BE(headers.length, 4);
  whole.writeUInt32BE(crc(whole.subarray(0, 8)), 8);
  whole.writeUInt32BE(crc(whole.subarray(0, -4)), whole.length - 4);
  const secret = Buffer.concat([whole, Buffer.from("s".repeat(400))]);
  expect(split("aws-event-stream", [secret.subarray(0, whole.length)])).toEqual({ frames: [], fault: "malformed" });
});

test.each<[Framing, Buffer, Buffer]>([
  ["sse", Buffer.from("data: {}\n\n"), Buffer.from(`data: ${"x".repeat(95)}`)],
  ["ndjson", Buffer.from("{}\n"), Buffer.from("x".repeat(101))],
  ["aws-event-stream", message(event("a"), "{}"), message(event("a"), "x".repeat(40))],
])("%s: a frame longer than the limit is a fault as soon as that is clear", (framing, short, long) => {
  const splitter = createFrameSplitter(framing, { frameBytesMax: 100 });
  const frames: Frame[] = [];
  splitter.push(Buffer.concat([short, long]), frames);
  expect(splitter.fault).toEqual({ kind: "too-long" });
  expect(frames).toHaveLength(1);
  splitter.push(short, frames);
  splitter.end(frames);
  expect(frames).toHaveLength(1);
});

test.each(framings)("%s: what is kept is counted, and given back with the rest", (framing) => {
  const bytes = Buffer.from(writeFrames(framing, [{ type: "", data: '{"a":"é"}' }]));
  const splitter = createFrameSplitter(framing);
  const frames: Frame[] = [];
  for (let at = 0; at < bytes.length - 1; at += 1) {
    splitter.push(bytes.subarray(at, at + 1), frames);
    expect(splitter.keptBytes()).toBe(at + 1);
  }
  expect(frames).toEqual([]);
  splitter.push(bytes.subarray(-1), frames);
  expect(splitter.keptBytes()).toBe(0);
  expect(frames).toEqual([{ type: "", data: '{"a":"é"}' }]);
});

test.each(framings)("%s: a frame of a million pieces is whole", (framing) => {
  const text = JSON.stringify({ text: "x".repeat(1_000_000) });
  const bytes = Buffer.from(writeFrames(framing, [{ type: "", data: text }]));
  const splitter = createFrameSplitter(framing);
  const frames: Frame[] = [];
  for (let at = 0; at < bytes.length; at += 1) splitter.push(bytes.subarray(at, at + 1), frames);
  expect(frames).toHaveLength(1);
  expect(frames[0]?.data === text).toBe(true);
});
