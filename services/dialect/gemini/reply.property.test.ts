import { create, type JsonObject } from "@bufbuild/protobuf";
import { CitationSchema, MediaSchema } from "@weir/gen/weir/chat/v1/conversation_pb";
import {
  type ChoiceEnd,
  type GenerateEvent,
  type ReplyDelta,
  type TokenLogprob,
  TokenLogprobSchema,
} from "@weir/gen/weir/chat/v1/event_pb";
import { type Usage, UsageSchema } from "@weir/gen/weir/common/v1/usage_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  audioEvent,
  choiceEnd,
  citationEvent,
  endEvent,
  imageEvent,
  reasoningEvent,
  startEvent,
  textEvent,
  toolCallEvent,
} from "../events.ts";
import { parseExact } from "../json.ts";
import { gemini } from "./codec.ts";
import { markOwn } from "./signature.ts";
import { readStopReason } from "./stop-reason.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1_000);

const options = { id: "own", createTimeMs: 5, model: "m", includeUsage: true, request: {} };
const noBytes = new Uint8Array(0);

/** Makes the deltas of one part. */
type PartMaker = (choice: number, part: number) => GenerateEvent[];

interface PartFacts {
  readonly kind: "text" | "thought" | "proof" | "call" | "image" | "audio";
  /** Whether more of the kind could follow without being taken for this part. */
  readonly isClosed: boolean;
  readonly text?: string;
  readonly make: PartMaker;
}

const someText = fc.string({ unit: "binary", minLength: 1, maxLength: 8 });
const pieces = fc.array(someText, { minLength: 1, maxLength: 3 });
const ownSignature = fc.base64String({ minLength: 4, maxLength: 12 }).map(markOwn);
const bytes = fc.uint8Array({ minLength: 1, maxLength: 8 });
const logprob: fc.Arbitrary<TokenLogprob> = fc
  .record({
    token: someText,
    logprob: fc.double({ min: -20, max: 0, noNaN: true }).map((value) => value + 0),
    top: fc.array(fc.record({ token: someText, logprob: fc.constant(-1.5) }), { maxLength: 2 }),
  })
  .map((value) => create(TokenLogprobSchema, value));

const text: fc.Arbitrary<PartFacts> = pieces.map((list) => ({
  kind: "text",
  isClosed: false,
  text: list.join(""),
  make: (choice, part) => list.map((piece) => textEvent(choice, part, piece)),
}));

const scoredText: fc.Arbitrary<PartFacts> = fc
  .array(fc.tuple(someText, fc.array(logprob, { minLength: 1, maxLength: 2 })), { minLength: 1, maxLength: 2 })
  .map((list) => ({
    kind: "text",
    isClosed: false,
    text: list.map(([piece]) => piece).join(""),
    make: (choice, part) => list.map(([piece, logprobs]) => textEvent(choice, part, piece, logprobs)),
  }));

const foreignProof = fc
  .record({
    signature: fc.uint8Array({ maxLength: 5 }),
    sealed: fc.uint8Array({ maxLength: 5 }),
    id: fc.constantFrom("", "rs_1"),
  })
  .filter(({ signature, sealed, id }) => signature.length + sealed.length + id.length > 0);
const proof = fc.oneof(
  ownSignature.map((signature) => ({ signature, sealed: noBytes, id: "" })),
  foreignProof,
);

const thought: fc.Arbitrary<PartFacts> = fc.tuple(pieces, fc.option(proof)).map(([list, proven]) => ({
  kind: "thought",
  isClosed: proven !== null,
  make: (choice, part) => [
    ...list.map((piece, at) => reasoningEvent(choice, part, { text: piece, id: at === 0 ? (proven?.id ?? "") : "" })),
    ...(proven === null ? [] : [reasoningEvent(choice, part, { ...proven, id: "" })]),
  ],
}));

const sealedPart = fc.constantFrom(
  { executableCode: { language: "PYTHON", code: "print(1)\n" } },
  { codeExecutionResult: { outcome: "OUTCOME_OK", output: "1" }, thoughtSignature: "QQ==" },
  { inlineData: { mimeType: "image/png", data: "AAAA" }, thought: true },
);
const proofAlone: fc.Arbitrary<PartFacts> = fc
  .oneof(
    proof.map((proven) => proven),
    sealedPart.map((part) => ({ signature: noBytes, sealed: markOwn(JSON.stringify(part)), id: "" })),
  )
  .map((proven) => ({
    kind: "proof",
    isClosed: true,
    make: (choice, part) => [reasoningEvent(choice, part, proven)],
  }));

const argumentsText = fc.oneof(
  fc
    .dictionary(fc.string({ maxLength: 4 }), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 3 })
    .map((value) => JSON.stringify(value)),
  fc.constant('{"a":12345678901234567890,"b":[1e400]}'),
);
const call: fc.Arbitrary<PartFacts> = fc
  .record({
    id: fc.stringMatching(/^\w{1,8}$/),
    name: fc.stringMatching(/^\w{1,8}$/),
    args: argumentsText,
    cut: fc.nat({ max: 20 }),
    signature: fc.oneof(fc.constant(noBytes), ownSignature, bytes),
  })
  .map(({ id, name, args, cut, signature }) => ({
    kind: "call",
    isClosed: true,
    make: (choice, part) => [
      toolCallEvent(choice, part, { id, name }),
      toolCallEvent(choice, part, { arguments: args.slice(0, cut), signature }),
      toolCallEvent(choice, part, { arguments: args.slice(cut) }),
    ],
  }));

const image: fc.Arbitrary<PartFacts> = fc
  .oneof(
    bytes.map((value) => ({ case: "data" as const, value: Buffer.from(value) })),
    fc.constant({ case: "url" as const, value: "https://pictures.example/a.png" }),
  )
  .map((source) => create(MediaSchema, { source, mediaType: "image/png", filename: "a.png" }))
  .map((media) => ({ kind: "image", isClosed: true, make: (choice, part) => [imageEvent(choice, part, media)] }));

const audio: fc.Arbitrary<PartFacts> = fc
  .array(
    fc
      .record({ data: fc.uint8Array({ maxLength: 4 }), transcript: fc.constantFrom("", "hi") })
      .filter(({ data, transcript }) => data.length > 0 || transcript !== ""),
    { minLength: 1, maxLength: 2 },
  )
  .map((list) => ({
    kind: "audio",
    isClosed: false,
    make: (choice, part) => list.map((delta) => audioEvent(choice, part, delta)),
  }));

const plainParts = fc.array(fc.oneof(text, thought, proofAlone, call, image, audio), { maxLength: 5 });
/** One text, whose tokens are scored. */
const scoredParts = fc
  .tuple(fc.array(thought, { maxLength: 1 }), scoredText, fc.array(call, { maxLength: 2 }))
  .map(([before, scored, after]) => [...before, scored, ...after]);

/** Whether parts stay apart when each comes in frames of its own. */
function areApart(parts: readonly PartFacts[]): boolean {
  return parts.every((part, at) => {
    const before = parts[at - 1];
    if (before === undefined || before.isClosed) return true;
    return before.kind !== part.kind && !(before.kind === "thought" && part.kind === "proof");
  });
}

const citation = fc.record({
  start: fc.nat({ max: 30 }),
  length: fc.nat({ max: 9 }),
  title: fc.string({ maxLength: 4 }),
  url: fc.constantFrom("https://a.example", "https://b.example/c"),
  quote: fc.string({ maxLength: 4 }),
});

const reasonWords = ["STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "MALFORMED_FUNCTION_CALL", "CONTINUATION", "OTHER"];

interface ChoiceFacts {
  readonly parts: readonly PartFacts[];
  readonly citations: readonly { start: number; length: number; title: string; url: string; quote: string }[];
  readonly reason: string;
}

const choiceOf = (parts: fc.Arbitrary<PartFacts[]>): fc.Arbitrary<ChoiceFacts> =>
  fc.record({ parts, citations: fc.array(citation, { maxLength: 2 }), reason: fc.constantFrom(...reasonWords) });

const usage: fc.Arbitrary<Usage> = fc
  .tuple(
    fc.nat({ max: 1_000 }),
    fc.nat({ max: 1_000 }),
    fc.array(fc.option(fc.nat({ max: 1_000 }), { nil: undefined }), { minLength: 6, maxLength: 6 }),
  )
  .map(([inputTokens, outputTokens, shares]) => {
    const part = (index: number, total: number) => {
      const share = shares[index];
      return share === undefined ? undefined : share % (total + 1);
    };
    const counts = {
      inputTokens,
      outputTokens,
      cachedInputTokens: part(0, inputTokens),
      audioInputTokens: part(1, inputTokens),
      imageInputTokens: part(2, inputTokens),
      reasoningTokens: part(3, outputTokens),
      audioOutputTokens: part(4, outputTokens),
      imageOutputTokens: part(5, outputTokens),
    };
    return create(UsageSchema, Object.fromEntries(Object.entries(counts).filter(([, count]) => count !== undefined)));
  });

const details = fc.constantFrom<JsonObject | undefined>(
  undefined,
  { gemini: { modelStatus: { modelStage: "STABLE" } } },
  { gemini: { candidates: [{ safetyRatings: [{ category: "C", probability: "LOW" }], index: 0 }] } },
);

interface Reply {
  readonly events: GenerateEvent[];
  readonly hasCitations: boolean;
}

const reply = (parts: fc.Arbitrary<PartFacts[]>): fc.Arbitrary<Reply> =>
  fc
    .record({
      choices: fc.array(choiceOf(parts), { minLength: 1, maxLength: 2 }),
      usage: fc.option(usage, { nil: undefined }),
      details,
      createTimeMs: fc.nat({ max: 2_000_000_000_000 }),
      isMixed: fc.boolean(),
    })
    .map(({ choices, usage: counts, details: more, createTimeMs, isMixed }) => {
      const said = choices.map(({ parts: list }, choice) => list.flatMap(({ make }, at) => make(choice, at)));
      const cited = choices.flatMap((facts, choice) => citationsOf(facts, choice));
      const ends = choices.map(({ parts: list, reason }, choice): ChoiceEnd => {
        const hasCalls = list.some(({ kind }) => kind === "call");
        return choiceEnd(choice, readStopReason(reason, hasCalls), reason);
      });
      return {
        events: [
          startEvent({ id: "r1", model: "gemini-3-pro", createTimeMs }),
          ...(isMixed ? interleave(said) : said.flat()),
          ...cited,
          endEvent(ends, counts, more),
        ],
        hasCitations: cited.length > 0,
      };
    });

/** Citations of a choice with one text, so that it is clear which one is meant. */
function citationsOf({ parts, citations }: ChoiceFacts, choice: number): GenerateEvent[] {
  const at = parts.findIndex(({ kind }) => kind === "text");
  if (parts.filter(({ kind }) => kind === "text").length !== 1) return [];
  const points = [...(parts[at]?.text ?? "")].length;
  return citations.map(({ start, length, ...rest }) => {
    const from = Math.min(start, points);
    return citationEvent(
      choice,
      at,
      create(CitationSchema, { ...rest, start: from, end: Math.min(from + length, points) }),
    );
  });
}

function interleave(lists: readonly (readonly GenerateEvent[])[]): GenerateEvent[] {
  const longest = Math.max(...lists.map(({ length }) => length));
  return Array.from({ length: longest }, (_, at) => lists.flatMap((list) => list.slice(at, at + 1))).flat();
}

/** Events after joining the deltas of each part. Counts on the way and empty members are left out. */
function joined(events: readonly GenerateEvent[], ignoresGrounding: boolean): unknown[] {
  const parts = new Map<string, Record<string, unknown>>();
  const rest: unknown[] = [];
  for (const { kind } of events) {
    if (kind.case === "delta") join(parts, kind.value);
    else if (kind.case === "end") {
      const text = JSON.stringify(kind.value.details ?? null, (name, value: unknown) =>
        ignoresGrounding && name === "groundingMetadata" ? undefined : value,
      );
      rest.push({ choices: kind.value.choices, usage: kind.value.usage, details: withoutEmpty(text) });
    } else if (kind.case !== "usage") rest.push(kind);
  }
  return [...[...parts].toSorted(([one], [other]) => (one < other ? -1 : 1)), ...rest];
}

/** Details without candidates that say nothing but their index. */
function withoutEmpty(json: string): unknown {
  const details = JSON.parse(json) as { gemini?: { candidates?: object[] } } | null;
  const own = details?.gemini;
  if (own?.candidates !== undefined) {
    own.candidates = own.candidates.filter((candidate) => Object.keys(candidate).length > 1);
    if (own.candidates.length === 0) delete own.candidates;
  }
  return own === undefined || Object.keys(own).length === 0 ? null : details;
}

function join(parts: Map<string, Record<string, unknown>>, { choice, part, content, logprobs }: ReplyDelta): void {
  const key = `${choice} ${String(part).padStart(3, "0")}`;
  const before = parts.get(key) ?? { case: content.case, logprobs: [] };
  const members = typeof content.value === "string" ? { text: content.value } : { ...content.value };
  for (const [name, value] of Object.entries(members)) {
    const old = before[name];
    if (value instanceof Uint8Array) {
      const all = Buffer.concat([Buffer.from((old as string | undefined) ?? "", "hex"), value]);
      before[name] = (name === "data" ? all : value.length > 0 ? Buffer.from(value) : all).toString("hex");
    } else if (typeof value === "string" && name !== "$typeName" && content.case !== "image") {
      before[name] = ((old as string | undefined) ?? "") + value;
    } else before[name] = value;
  }
  parts.set(key, { ...before, logprobs: [...(before["logprobs"] as unknown[]), ...logprobs] });
}

test("a whole answer survives the way there and back", () => {
  fc.assert(
    fc.property(reply(fc.oneof(plainParts, scoredParts)), ({ events, hasCitations }) => {
      const json = parseExact(gemini.writeAnswer(events, options));
      const reading = json && gemini.readAnswer(json);
      expect(joined(reading?.events ?? [], hasCitations)).toEqual(joined(events, false));
      expect(reading?.usage?.sound ?? true).toBe(true);
    }),
    { numRuns },
  );
});

test("a stream survives the way there and back, and is never taken for complete before its last frame", () => {
  fc.assert(
    fc.property(reply(fc.oneof(plainParts.filter(areApart), scoredParts)), ({ events, hasCitations }) => {
      const writer = gemini.createFrameWriter(options);
      const frames = events.flatMap((event) => writer.write(event));
      const reader = gemini.createFrameReader();
      const found: GenerateEvent[] = [];
      for (const [at, { type, data }] of frames.entries()) {
        expect(data).not.toMatch(/[\r\n]/);
        const cut = gemini.createFrameReader();
        const before: GenerateEvent[] = [];
        for (const frame of frames.slice(0, at)) cut.read(frame.type, frame.data, before);
        expect(before).toEqual(found);
        cut.finish(before);
        expect(cut.complete).toBe(false);
        expect(before).toEqual(found);
        reader.read(type, data, found);
      }
      reader.finish(found);
      expect(reader.fault).toBeUndefined();
      expect(reader.complete).toBe(true);
      expect(joined(found, hasCitations)).toEqual(joined(events, false));
    }),
    { numRuns: Math.ceil(numRuns / 4) },
  );
});
