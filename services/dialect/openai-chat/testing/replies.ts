import type { Citation, Media } from "@weir/gen/weir/chat/v1/conversation_pb";
import { type GenerateEvent, StopReason, type TokenLogprob } from "@weir/gen/weir/chat/v1/event_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import {
  audioEvent,
  choiceEnd,
  citationEvent,
  endEvent,
  imageEvent,
  reasoningEvent,
  refusalEvent,
  startEvent,
  textEvent,
  toolCallEvent,
} from "../../events.ts";
import type { JsonObject } from "../../json.ts";
import fc, { type Arbitrary } from "fast-check";
import { servedInItsTier } from "../../testing/service-tier.ts";

const words = fc.oneof(
  fc.string({ minLength: 1, maxLength: 8 }),
  fc.constantFrom("Grüße 👋", '"q"\n\\', "\u2028", "data: [DONE]\n\n", "__proto__"),
);
const blank = fc.oneof(fc.constant(""), words);
const proof = fc.uint8Array({ maxLength: 6 });
const choiceIndex = fc.constantFrom(0, 0, 0, 1, 2);

/** The request of a client with one tool that has no schema. */
export const clientRequest: JsonObject = { tools: [{ type: "custom", custom: { name: "free" } }] };

/** Something that a reply says; `slot` tells parts of one kind apart. */
type Act =
  | { readonly kind: "text" | "refusal"; readonly text: string; readonly logprobs: TokenLogprob[] }
  | { readonly kind: "reasoning"; readonly slot: number; readonly delta: Parameters<typeof reasoningEvent>[2] }
  | { readonly kind: "call"; readonly slot: number; readonly text: string; readonly signature: Uint8Array }
  | { readonly kind: "audio"; readonly delta: Parameters<typeof audioEvent>[2] }
  | { readonly kind: "image"; readonly image: Media }
  | { readonly kind: "citation"; readonly citation: Citation };

const token = fc.record({
  $typeName: fc.constant("weir.chat.v1.TokenLogprob" as const),
  token: words,
  logprob: fc.double({ max: 0, min: -9_999, noNaN: true }).map((value) => value + 0),
  bytes: fc.uint8Array({ maxLength: 3 }),
});
const logprobs: Arbitrary<TokenLogprob[]> = fc.oneof(
  { weight: 3, arbitrary: fc.constant<TokenLogprob[]>([]) },
  fc.array(
    fc
      .tuple(
        token,
        fc.array(
          token.map((top) => ({ ...top, top: [] })),
          { maxLength: 2 },
        ),
      )
      .map(([own, top]) => ({ ...own, top })),
    { minLength: 1, maxLength: 2 },
  ),
);

const image: Arbitrary<Media> = fc
  .oneof(
    fc.webUrl().map((value) => ({ source: { case: "url" as const, value }, mediaType: "" })),
    fc.uint8Array().map((value) => ({ source: { case: "data" as const, value }, mediaType: "image/png" })),
  )
  .map((media) => ({ $typeName: "weir.chat.v1.Media", ...media, filename: "", detail: "" }));

const citation: Arbitrary<Citation> = fc.record({
  $typeName: fc.constant("weir.chat.v1.Citation" as const),
  start: fc.nat(),
  end: fc.nat(),
  title: blank,
  url: fc.webUrl(),
  quote: blank,
});

const act: Arbitrary<Act> = fc.oneof(
  fc.record({ kind: fc.constantFrom("text" as const, "refusal" as const), text: words, logprobs }),
  fc.record({ kind: fc.constant("text" as const), text: words, logprobs: fc.constant<TokenLogprob[]>([]) }),
  fc.record({
    kind: fc.constant("reasoning" as const),
    slot: fc.nat({ max: 1 }),
    delta: fc
      .record({ text: blank, signature: proof, sealed: proof, id: fc.constantFrom("", "rs_") })
      .filter(({ text, signature, sealed, id }) => text !== "" || signature.length + sealed.length > 0 || id !== ""),
  }),
  fc.record({
    kind: fc.constant("call" as const),
    slot: fc.nat({ max: 2 }),
    text: words,
    signature: fc.oneof(fc.constant(new Uint8Array(0)), proof),
  }),
  fc.record({
    kind: fc.constant("audio" as const),
    delta: fc.record(
      {
        id: blank,
        data: fc.uint8Array({ maxLength: 5 }),
        transcript: blank,
        expireTimeMs: fc.integer({ min: 1, max: 4_000_000_000 }).map((seconds) => seconds * 1_000),
      },
      { requiredKeys: [] },
    ),
  }),
  fc.record({ kind: fc.constant("image" as const), image }),
  fc.record({ kind: fc.constant("citation" as const), citation }),
);

const start = fc
  .record({
    id: words,
    model: words,
    createTimeMs: fc.integer({ min: 1, max: 4_000_000_000 }).map((seconds) => seconds * 1_000),
    systemFingerprint: blank,
    serviceTier: blank,
  })
  .map(startEvent);

/** Counts whose parts fit into their totals. */
const usage: Arbitrary<Usage> = fc
  .record({
    cached: fc.nat(99),
    written: fc.nat(99),
    rest: fc.nat(99),
    reasoning: fc.nat(99),
    said: fc.nat(99),
    both: fc.boolean(),
  })
  .map(({ cached, written, rest, reasoning, said, both }) => ({
    $typeName: "weir.common.v1.Usage",
    serverToolUses: {},
    inputTokens: cached + written + rest,
    ...(both && {
      cachedInputTokens: cached,
      cacheWriteTokens: written,
      audioInputTokens: rest,
      imageInputTokens: cached,
      outputTokens: reasoning + said,
      reasoningTokens: reasoning,
      audioOutputTokens: said,
      imageOutputTokens: said,
      acceptedPredictionTokens: said,
      rejectedPredictionTokens: reasoning,
    }),
  }));

const ends = [
  [StopReason.END, "stop"],
  [StopReason.LENGTH, "length"],
  [StopReason.CONTENT_FILTER, "content_filter"],
  [StopReason.TOOL_CALLS, "tool_calls"],
] as const;

/** Any answer that this dialect can hold, with its parts numbered as they appear. */
export const replies: Arbitrary<GenerateEvent[]> = fc
  .record({
    start,
    acts: fc.array(fc.tuple(choiceIndex, act), { maxLength: 12 }),
    reasons: fc.array(fc.nat(), { minLength: 3, maxLength: 3 }),
    usage: fc.option(usage, { nil: undefined }),
  })
  .map((reply) => {
    const said = reply.acts.reduce(addAct, { events: [], parts: new Map<string, number>() });
    const choices = [...new Set([0, ...reply.acts.map(([choice]) => choice)])].toSorted((a, b) => a - b);
    const choiceEnds = choices.map((choice) => {
      const calls = [...said.parts.keys()].some((key) => key.startsWith(`${choice} call`));
      const possible = calls ? ends.slice(1) : ends;
      const [reason, raw] = possible[(reply.reasons[choice] ?? 0) % possible.length] ?? ends[3];
      return choiceEnd(choice, reason, raw);
    });
    return servedInItsTier([reply.start, ...said.events, endEvent(choiceEnds, reply.usage && { ...reply.usage })]);
  });

interface Said {
  readonly events: GenerateEvent[];
  /** Numbers of parts by choice, kind and slot. */
  readonly parts: Map<string, number>;
}

function addAct(said: Said, [choice, next]: [number, Act]): Said {
  const { events, parts } = said;
  const partOf = (name: string): number => {
    const key = `${choice} ${name}`;
    const own = parts.get(key) ?? [...parts.keys()].filter((other) => other.startsWith(`${choice} `)).length;
    parts.set(key, own);
    return own;
  };
  switch (next.kind) {
    case "text":
      events.push(textEvent(choice, partOf("text"), next.text, next.logprobs));
      break;
    case "refusal":
      events.push(refusalEvent(choice, partOf("refusal"), next.text, next.logprobs));
      break;
    case "reasoning": {
      const id = next.delta.id === "" ? "" : `${next.delta.id}${next.slot}`; // a part has one id, however often it is said
      events.push(reasoningEvent(choice, partOf(`reasoning ${next.slot}`), { ...next.delta, id }));
      break;
    }
    case "call": {
      const name = `call ${next.slot}`;
      const begins = !parts.has(`${choice} ${name}`);
      const first = { id: `call_${next.slot}`, name: next.slot === 0 ? "free" : "f" };
      const delta = { ...(begins && first), arguments: next.text, signature: next.signature };
      events.push(toolCallEvent(choice, partOf(name), delta));
      break;
    }
    case "audio":
      events.push(audioEvent(choice, partOf("audio"), next.delta));
      break;
    case "image":
      events.push(imageEvent(choice, partOf(`image ${parts.size}`), next.image));
      break;
    case "citation":
      if (parts.has(`${choice} text`)) events.push(citationEvent(choice, partOf("text"), next.citation));
      break;
  }
  return said;
}

/** What an answer says in all: pieces of one part joined, so that answers can be compared however they were cut. */
export function whole(events: readonly GenerateEvent[], order: "as numbered" | "by kind") {
  const parts = new Map<string, Part>();
  const citations: unknown[] = [];
  let startValue: unknown;
  let endValue: unknown;
  for (const { kind } of events) {
    if (kind.case === "start") startValue = plain(kind.value);
    if (kind.case === "end") endValue = plain(kind.value);
    if (kind.case === "citation") citations.push(plain({ choice: kind.value.choice, citation: kind.value.citation }));
    if (kind.case !== "delta") continue;
    const { choice, part, content } = kind.value;
    const key = `${choice} ${order === "as numbered" ? part : `${rank[content.case ?? ""]} ${part}`}`;
    parts.set(key, join(parts.get(key), kind.value));
  }
  const list = [...parts.entries()].toSorted(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
  const said = list.map(([key, part]) => [order === "as numbered" ? key : key.split(" ")[0], plain(part)]);
  return { start: startValue, said, citations: byChoice(citations), end: endValue };
}

/** The order in which a message has its members. */
const rank: Readonly<Record<string, number>> = { reasoning: 0, text: 1, refusal: 2, audio: 3, image: 4, toolCall: 5 };

type Delta = Extract<GenerateEvent["kind"], { case: "delta" }>["value"];

/** A part with one more of its deltas. */
function join(before: Part | undefined, { content, logprobs: added }: Delta): Part {
  const part = before ?? { kind: content.case, id: "", name: "", text: "", bytes: "", proofs: ["", ""], logprobs: [] };
  part.logprobs.push(...added);
  switch (content.case) {
    case "text":
    case "refusal":
      part.text += content.value;
      break;
    case "reasoning":
      part.text += content.value.text;
      part.id ||= content.value.id;
      part.proofs = [hex(content.value.signature) || part.proofs[0], hex(content.value.sealed) || part.proofs[1]];
      break;
    case "toolCall":
      part.text += content.value.arguments;
      part.id ||= content.value.id;
      part.name ||= content.value.name;
      part.proofs[0] = hex(content.value.signature) || part.proofs[0];
      break;
    case "audio":
      part.text += content.value.transcript;
      part.id = content.value.id || part.id;
      part.bytes += hex(content.value.data);
      part.expireTime = content.value.expireTime ?? part.expireTime;
      break;
    case "image":
      part.image = content.value;
      break;
    default:
  }
  return part;
}

interface Part {
  readonly kind: string | undefined;
  id: string;
  name: string;
  text: string;
  bytes: string;
  proofs: [signature: string, sealed: string];
  expireTime?: unknown;
  image?: Media;
  readonly logprobs: TokenLogprob[];
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function byChoice(citations: unknown[]): unknown[] {
  return citations.toSorted((a, b) => JSON.stringify(a).localeCompare(JSON.stringify(b)));
}

/** A value without what no two objects share. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_, inner: unknown) => {
      if (typeof inner === "bigint") return String(inner);
      // A Buffer was turned into an object before it came here.
      if (inner instanceof Uint8Array) return [...inner];
      return isBufferJson(inner) ? inner.data : inner;
    }),
  );
}

function isBufferJson(value: unknown): value is { data: number[] } {
  return typeof value === "object" && value !== null && "type" in value && value.type === "Buffer";
}
