import { create } from "@bufbuild/protobuf";
import { openaiResponses } from "@weir/dialect/openai-responses/codec";
import { answerOptions, reply } from "@weir/dialect/openai-responses/testing";
import { isObject, type JsonObject } from "@weir/dialect/json";
import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import { type WireChunk, WireChunkSchema, WireHeadSchema, WireTailSchema } from "@weir/gen/weir/chat/v1/wire_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { ResponseState } from "@weir/gen/weir/conversation/v1/response_pb";
import { WeirError } from "@weir/kit/weir-error";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Ended } from "./archive.ts";
import { createByteRoom } from "./byte-room.ts";
import { AnswerRecord, type RecordOptions } from "./record.ts";

const numRuns = Math.ceil(Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000) / 4);
const input = Buffer.from('"hi"');
const roomBytes = 1_000_000_000;
const comment = ": weir-warnings not_stored\n\n";

const parse = (text: string | Buffer | undefined): JsonObject => JSON.parse(String(text)) as JsonObject;

function framesOf(events: readonly GenerateEvent[]): string[] {
  const writer = openaiResponses.createFrameWriter(answerOptions);
  return events.flatMap((event) => writer.write(event)).map(({ type, data }) => `event: ${type}\ndata: ${data}\n\n`);
}

/** Pieces of an answer as the mesh carries them: the head with the first, the tail with the last, or behind it. */
function chunksOf(contentType: string, pieces: readonly string[], tailAlone: boolean): WireChunk[] {
  const all = tailAlone ? [...pieces, ""] : pieces;
  return all.map((piece, index) =>
    create(WireChunkSchema, {
      data: Buffer.from(piece),
      ...(index === 0 ? { head: create(WireHeadSchema, { status: 200, contentType, provider: "p", model: "m" }) } : {}),
      ...(index === all.length - 1 ? { tail: create(WireTailSchema, {}) } : {}),
    }),
  );
}

/** Joins neighbours. @param joins for each piece, whether the next one stands in the same chunk */
function joined(pieces: readonly string[], joins: readonly boolean[]): string[] {
  const result: string[] = [];
  for (const [index, piece] of pieces.entries()) {
    if (index > 0 && joins[index % joins.length] === true) result.push((result.pop() ?? "") + piece);
    else result.push(piece);
  }
  return result;
}

/** What a client gets of an answer, and what is stored of it. */
function follow(chunks: readonly WireChunk[], options: Partial<RecordOptions> = {}) {
  const room = createByteRoom(roomBytes);
  const record = new AnswerRecord({ previousResponseId: undefined, input, bytesMax: 1_000_000, room, ...options });
  const out: WireChunk[] = [];
  let ended: Ended | undefined;
  let ends = 0;
  for (const chunk of chunks) {
    const taken = record.take(chunk);
    if (taken.kind === "pass") out.push(chunk);
    else if (taken.kind === "instead") out.push(taken.chunk);
    else if (taken.kind === "end") {
      ends += 1;
      ({ ended } = taken);
      if (taken.before !== undefined) out.push(taken.before);
      out.push(taken.after(ended !== undefined));
    }
  }
  return { record, room, out, ended, ends, text: Buffer.concat(out.map(({ data }) => data)).toString() };
}

/** Whether what a client gets begins with a head, and ends with a tail, and has each once. */
function isWellFormed(out: readonly WireChunk[]): boolean {
  return (
    out.filter(({ head }) => head !== undefined).length === 1 &&
    out[0]?.head !== undefined &&
    out.filter(({ tail }) => tail !== undefined).length === 1 &&
    out.at(-1)?.tail !== undefined
  );
}

const joins = fc.array(fc.boolean(), { minLength: 1, maxLength: 5 });

test("however a stream is cut, its client gets every byte, and the last Response is stored", () => {
  fc.assert(
    fc.property(reply, joins, fc.boolean(), (events, cuts, tailAlone) => {
      const frames = framesOf(events);
      const { record, room, out, ended, ends, text } = follow(
        chunksOf("text/event-stream; charset=utf-8", joined(frames, cuts), tailAlone),
      );
      expect(text).toBe(frames.join(""));
      expect(isWellFormed(out)).toBe(true);
      expect(ends).toBe(1);
      const whole = parse(openaiResponses.writeAnswer(events, answerOptions));
      expect(parse(ended?.response)).toEqual(whole);
      expect(ended?.responseId).toBe(whole["id"]);
      const { start, end } = ended?.output ?? { start: 0, end: 0 };
      expect(JSON.parse(String(ended?.response.subarray(start, end)))).toEqual(whole["output"]);
      expect(record.left()).toBeUndefined();
      record.release();
      expect(room.take(roomBytes)).toBe(true);
    }),
    { numRuns },
  );
});

test("however an answer is cut, its client gets every byte, and so does the store", () => {
  fc.assert(
    fc.property(reply, fc.array(fc.nat(), { maxLength: 4 }), fc.boolean(), (events, offsets, tailAlone) => {
      const body = openaiResponses.writeAnswer(events, answerOptions);
      const ascii = JSON.stringify(JSON.parse(body)).replace(/[^\x20-\x7e]/g, "?");
      const cuts = [0, ...offsets.map((offset) => offset % ascii.length).sort((a, b) => a - b), ascii.length];
      const pieces = cuts.slice(1).map((cut, index) => ascii.slice(cuts[index], cut));
      const { out, ended, text } = follow(chunksOf("application/json", pieces, tailAlone));
      expect(text).toBe(ascii);
      expect(isWellFormed(out)).toBe(true);
      expect(String(ended?.response)).toBe(ascii);
      expect(ended?.state).toBe(
        parse(body)["status"] === "completed" ? ResponseState.COMPLETED : ResponseState.INCOMPLETE,
      );
    }),
    { numRuns },
  );
});

test("a client sees what it continued, in every Response that it is shown", () => {
  fc.assert(
    fc.property(reply, joins, (events, cuts) => {
      const previousResponseId = "resp_before";
      const chunks = chunksOf("text/event-stream", joined(framesOf(events), cuts), false);
      const { ended, text } = follow(chunks, { previousResponseId });
      const shown = text
        .split("\n")
        .filter((line) => line.startsWith("data: "))
        .map((line) => parse(line.slice(6))["response"])
        .filter(isObject);
      expect(shown.map((response) => response["previous_response_id"])).toEqual(shown.map(() => previousResponseId));
      expect(shown.at(-1)).toEqual(parse(ended?.response));
      expect(ended?.previousResponseId).toBe(previousResponseId);
    }),
    { numRuns },
  );
});

test("a stream that ends too soon is stored with the items that were whole, once its client has seen the id", () => {
  const failure = new WeirError(ErrorReason.STREAM_TRUNCATED);
  fc.assert(
    fc.property(reply, fc.nat(), fc.boolean(), (events, cut, isLeft) => {
      const frames = framesOf(events).slice(0, -1);
      const seen = frames.slice(0, cut % (frames.length + 1));
      const { record } = follow(chunksOf("text/event-stream", seen, false));
      const ended = isLeft ? record.left() : record.failed(failure);
      if (seen.length === 0) {
        expect(ended).toBeUndefined();
        return;
      }
      const stored = parse(ended?.response);
      const done = seen
        .map((frame) => parse(frame.slice(frame.indexOf("data: ") + 6)))
        .filter(({ type }) => type === "response.output_item.done");
      expect(ended?.state).toBe(isLeft ? ResponseState.CANCELLED : ResponseState.FAILED);
      expect(stored).toMatchObject({
        id: ended?.responseId,
        status: isLeft ? "cancelled" : "failed",
        error: isLeft ? null : { code: "server_error", message: failure.message },
      });
      expect(stored["output"]).toEqual(done.map(({ item }) => item));
      expect(record.left()).toBeUndefined();
    }),
    { numRuns },
  );
});

test("what is larger than may be stored reaches its client, and says that it is not stored", () => {
  fc.assert(
    fc.property(reply, joins, fc.integer({ min: 1, max: 400 }), (events, cuts, bytesMax) => {
      const frames = framesOf(events);
      const streamed = follow(chunksOf("text/event-stream", joined(frames, cuts), false), { bytesMax });
      expect(streamed.ended).toBeUndefined();
      expect(streamed.text).toBe([...frames.slice(0, -1), comment, ...frames.slice(-1)].join(""));
      const body = openaiResponses.writeAnswer(events, answerOptions);
      const whole = follow(chunksOf("application/json", [body.slice(0, 100), body.slice(100)], true), { bytesMax });
      expect(whole.text).toBe(body);
      expect(whole.ended).toBeUndefined();
      expect(whole.out.flatMap(({ head }) => head?.warnings.map(({ code }) => code) ?? [])).toEqual(["not_stored"]);
      expect(isWellFormed(whole.out)).toBe(true);
    }),
    { numRuns: Math.ceil(numRuns / 4) },
  );
});

test("a stream is stored when its last Response and the input are no larger than may be", () => {
  // What a Response says of its state may be longer before its end.
  const slack = 100;
  fc.assert(
    fc.property(reply, joins, (events, cuts) => {
      const chunks = chunksOf("text/event-stream", joined(framesOf(events), cuts), false);
      const bytes = input.length + (follow(chunks).ended?.response.length ?? 0);
      expect(follow(chunks, { bytesMax: bytes + slack }).ended).toBeDefined();
      expect(follow(chunks, { bytesMax: bytes - 1 }).ended).toBeUndefined();
    }),
    { numRuns },
  );
});

test("a refusal, and what is no Response, passes and is not stored", () => {
  const refusal = create(WireChunkSchema, {
    data: Buffer.from('{"error":{}}'),
    head: create(WireHeadSchema, { status: 400, contentType: "application/json" }),
    tail: create(WireTailSchema, {}),
  });
  expect(follow([refusal])).toMatchObject({ out: [refusal], ends: 0 });
  const odd = follow(chunksOf("application/json", ["[]"], false));
  expect(odd.ended).toBeUndefined();
  expect(odd.text).toBe("[]");
});
