import { durationFromMs } from "@bufbuild/protobuf/wkt";
import type { Codec, Frame } from "@weir/dialect/codec";
import { writeFrames } from "@weir/dialect/framing/writer";
import { type JsonObject, parseExact, writeJson } from "@weir/dialect/json";
import type { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { WeirError } from "@weir/kit/weir-error";
import { describe, expect, test } from "vitest";
import { mediaTypes } from "./answers/answer-path.ts";
import {
  attemptRequest,
  createTestPool,
  principalMetadata,
  type ProviderInit,
  readAll,
  startProvider,
} from "./testing/pool-under-test.ts";
import { clients, framesOf, known, readBack, said, streamed, toolArguments, vendors } from "./testing/vendors.ts";

type Client = (typeof clients)[number];

/** A client of the vendor's own dialect, whose answers are bytes that pass, and one of another. */
function clientsBefore(dialect: Dialect): readonly Client[] {
  const own = clients.filter(([, other]) => other === dialect);
  const other = clients.find(([, foreign]) => foreign !== dialect);
  return other === undefined ? own : [...own, other];
}

interface Scene {
  readonly codec: Codec;
  readonly init: ProviderInit;
  readonly client: Client;
}

/** What a client gets of a provider that sends some pieces, one in each turn, and then ends, or says no more. */
async function play({ codec, init, client }: Scene, pieces: Iterable<string | Buffer>, stalls = false) {
  const [, dialect, body] = client;
  await using provider = await startProvider(async (response) => {
    response.writeHead(200, { "content-type": mediaTypes[codec.framing] });
    for (const piece of pieces) {
      if (response.destroyed) return;
      response.write(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    if (!stalls) response.end();
  });
  await using pool = createTestPool(provider.url, init);
  const timeouts = stalls ? { firstToken: durationFromMs(150), idle: durationFromMs(150) } : {};
  const request = attemptRequest(streamed(body, dialect), { timeouts }, known(dialect), true);
  const answer = await readAll(pool.client.runAttempt(request, { metadata: principalMetadata }));
  expect(pool.defects).toEqual([]);
  expect(pool.journal.events).toHaveLength(1);
  expect(pool.pool.status()).toMatchObject({ openAttempts: 0, draining: 0, providers: [{ calls: 0 }] });
  return { answer, read: readBack(known(dialect), answer.text), event: pool.journal.events[0] };
}

type Played = Awaited<ReturnType<typeof play>>;

function expectWhole({ answer, read, event }: Played, usage: object = { inputTokens: 9, outputTokens: 5 }): void {
  expect(answer.error).toBeUndefined();
  expect(answer.tail).toBeDefined();
  expect(read).toMatchObject({ words: said.join(""), complete: true, fault: undefined });
  expect(read.args.replaceAll(/\s/g, "")).toBe(toolArguments.join(""));
  expect(event).toMatchObject({ outcome: AttemptOutcome.COMPLETED, usageSource: UsageSource.REPORTED, usage });
}

function expectFailed({ answer, read, event }: Played, reason: ErrorReason, outcome: AttemptOutcome): void {
  expect(answer.error).toBeInstanceOf(WeirError);
  expect(answer.error).toMatchObject({ reason });
  expect(String(answer.error)).not.toContain("CANARY");
  expect(answer.tail).toBeUndefined();
  expect(read.complete).toBe(false);
  expect(event).toMatchObject({ outcome });
}

/** Frames whose JSON is changed; what is no JSON (`[DONE]`) stays. */
function mapFrames(frames: readonly Frame[], change: (json: JsonObject) => JsonObject): Frame[] {
  return frames.map((frame) => {
    const json = parseExact(frame.data);
    return json === undefined ? frame : { ...frame, data: writeJson(change(json)) };
  });
}

const isObject = (value: unknown): value is JsonObject => typeof value === "object" && value !== null;

/** The members of a frame, and those of what it wraps, without some, or with others. */
function withMembers(json: JsonObject, change: (members: JsonObject) => JsonObject): JsonObject {
  const wrapped = ["message", "response"].filter((name) => isObject(json[name]));
  return change({
    ...json,
    ...Object.fromEntries(wrapped.map((name) => [name, change(json[name] as JsonObject)])),
  });
}

const usageMembers = new Set(["usage", "usageMetadata", "prompt_eval_count", "eval_count"]);
const withoutUsage = (members: JsonObject): JsonObject =>
  Object.fromEntries(Object.entries(members).filter(([name]) => !usageMembers.has(name)));

const idMembers = new Set(["id", "responseId"]);
const withoutIds = (members: JsonObject): JsonObject =>
  Object.fromEntries(Object.entries(members).map(([name, value]) => [name, idMembers.has(name) ? null : value]));

function* bytesOf(bytes: Buffer): Generator<Buffer> {
  for (const byte of bytes) yield Buffer.from([byte]);
}

describe.each(vendors)("a provider of %s", (name, dialect, init) => {
  const codec = known(dialect);
  const frames = framesOf(codec);
  const bytes = Buffer.from(writeFrames(codec.framing, frames));
  const begun = writeFrames(codec.framing, frames.slice(0, frames.findIndex(({ data }) => data.includes("Hel")) + 1));
  const scenes = clientsBefore(dialect).map((client): Scene => ({ codec, init, client }));
  const text = bytes.toString();
  const lines = codec.framing === "aws-event-stream" ? undefined : codec.framing;

  test("is read whole though every byte of its letters comes alone", async () => {
    for (const scene of scenes) expectWhole(await play(scene, bytesOf(bytes)));
  });

  test.runIf(lines !== undefined)("is read whole without the end of its last line", async () => {
    for (const scene of scenes) expectWhole(await play(scene, [text.trimEnd()]));
  });

  test.runIf(lines !== undefined).each([
    ["CRLF", (whole: string) => whole.replaceAll("\n", "\r\n")],
    ["a mix of line ends", (whole: string) => whole.replaceAll(/\n\n/g, "\r\n\n").replaceAll(/([^\r\n])\n/g, "$1\r\n")],
  ])("is read whole with %s", async (_, change) => {
    for (const scene of scenes) {
      expectWhole(await play(scene, [change(text)]));
      expectWhole(await play(scene, bytesOf(Buffer.from(change(text)))));
    }
  });

  test.runIf(lines === "sse").each([
    ["CR alone", (whole: string) => whole.replaceAll("\n", "\r")],
    ["a byte order mark", (whole: string) => `\ufeff${whole}`],
    ["comments", (whole: string) => `: begun\n\n${whole.replaceAll("\n\n", "\n\n: ping\n\n:\n")}`],
    ["fields that nobody knows", (whole: string) => whole.replaceAll("data: ", "retry: 5\nnew: field\nid: 1\ndata: ")],
    ["no space behind the colon", (whole: string) => whole.replaceAll("data: ", "data:")],
  ])("is read whole with %s", async (_, change) => {
    for (const scene of scenes) expectWhole(await play(scene, [change(text)]));
  });

  test.runIf(lines === "ndjson")("is read whole with empty lines", async () => {
    for (const scene of scenes) expectWhole(await play(scene, [text.replaceAll("\n", "\n\n \r\n")]));
  });

  test("is read whole though its ids are null", async () => {
    // Ids of calls and items are others.
    const changed = mapFrames(frames, (json) => withMembers(json, withoutIds));
    for (const scene of scenes) expectWhole(await play(scene, [writeFrames(codec.framing, changed)]));
  });

  test("that reports no usage is counted", async () => {
    const changed = mapFrames(frames, (json) => withMembers(json, withoutUsage));
    for (const scene of scenes) {
      const { answer, event } = await play(scene, [writeFrames(codec.framing, changed)]);
      expect(answer.error).toBeUndefined();
      expect(event).toMatchObject({ outcome: AttemptOutcome.COMPLETED, usageSource: UsageSource.COUNTED });
      expect(event?.usage?.inputTokens).toBeGreaterThan(0);
      expect(event?.usage?.outputTokens).toBeGreaterThan(3);
    }
  });

  const failure = Buffer.from(
    codec.renderErrorEvent(new WeirError(ErrorReason.OVERLOADED, { text: "CANARY" }), "CANARY"),
    codec.framing === "aws-event-stream" ? "latin1" : "utf8",
  );

  test("that begins with an error fails before content, and served nothing", async () => {
    for (const scene of scenes) {
      const played = await play(scene, [failure]);
      expectFailed(played, ErrorReason.PROVIDER_UNAVAILABLE, AttemptOutcome.FAILED);
      expect(played.event?.usage).toMatchObject({ inputTokens: 0, outputTokens: 0 });
    }
  });

  test("that reports an error after content has broken off", async () => {
    for (const scene of scenes) {
      const played = await play(scene, [begun, failure, bytes]);
      expectFailed(played, ErrorReason.STREAM_TRUNCATED, AttemptOutcome.TRUNCATED);
      expect(played.answer.text).not.toContain("CANARY");
    }
  });

  test("that says nothing after its head is too slow", async () => {
    for (const scene of scenes) {
      const played = await play(scene, [], true);
      expectFailed(played, ErrorReason.PROVIDER_TIMEOUT, AttemptOutcome.FAILED);
      expect(played.answer.error).toMatchObject({ metadata: { timer: "first_token" } });
    }
  });

  test("that falls silent, or trickles without saying anything, is cut off after content", async () => {
    const rest = bytes.subarray(Buffer.from(begun).length);
    for (const scene of scenes) {
      for (const pieces of [[begun], [begun, rest.subarray(0, 1)]]) {
        const played = await play(scene, pieces, true);
        expectFailed(played, ErrorReason.PROVIDER_TIMEOUT, AttemptOutcome.TRUNCATED);
        expect(played.answer.error).toMatchObject({ metadata: { timer: "idle" } });
      }
    }
  });

  test.runIf(name === "openai-chat").each([
    ["stands beside choices", (whole: Frame[]) => joinUsage(whole)],
    ["comes twice", (whole: Frame[]) => twice(whole)],
  ])("whose usage %s is billed by the last of it", async (_, change) => {
    for (const scene of scenes) {
      const played = await play(scene, [writeFrames("sse", change(frames))]);
      expectWhole(played);
    }
  });

  test.runIf(name === "gemini")("that reports its usage with every frame is billed by the last of it", async () => {
    let count = 0;
    const changed = mapFrames(frames, (json) => {
      count += 1;
      const early = { promptTokenCount: 9, candidatesTokenCount: count, totalTokenCount: 9 + count };
      return isObject(json["usageMetadata"]) ? json : { ...json, usageMetadata: early };
    });
    for (const scene of scenes) expectWhole(await play(scene, [writeFrames("sse", changed)]));
  });
});

const usageOf = ({ data }: Frame) => parseExact(data)?.["usage"];

/** Chat completions whose last choices bring the usage, as some servers have it. */
function joinUsage(frames: readonly Frame[]): Frame[] {
  const reporting = frames.find((frame) => isObject(usageOf(frame)));
  const others = frames.filter((frame) => frame !== reporting);
  const last = others.findLast(({ data }) => parseExact(data) !== undefined);
  return others.flatMap((frame) =>
    frame === last ? mapFrames([frame], (json) => ({ ...json, usage: reporting && usageOf(reporting) })) : [frame],
  );
}

/** Chat completions that report usage twice, the first time too low. */
function twice(frames: readonly Frame[]): Frame[] {
  const early = { prompt_tokens: 9, completion_tokens: 1, total_tokens: 10 };
  return frames.flatMap((frame) =>
    isObject(usageOf(frame)) ? [...mapFrames([frame], (json) => ({ ...json, usage: early })), frame] : [frame],
  );
}
