import { anthropicMessages } from "@weir/dialect/anthropic-messages/codec";
import type { Codec } from "@weir/dialect/codec";
import { openaiChat } from "@weir/dialect/openai-chat/codec";
import fc from "fast-check";
import { expect, test, vi } from "vitest";
import type { Piece } from "./answer-path.ts";
import { translated } from "./translated.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1_000);
const options = { id: "a", createTimeMs: 0, model: "m", includeUsage: true, request: {} };

/** The same dialect, every chunk of which is parsed. */
const parsing: Codec = {
  ...openaiChat,
  createFrameReader() {
    const reader = openaiChat.createFrameReader();
    return {
      read: reader.read,
      finish: reader.finish,
      get complete() {
        return reader.complete;
      },
      get fault() {
        return reader.fault;
      },
      get usage() {
        return reader.usage;
      },
    };
  },
};

interface Choice {
  readonly index?: number;
  readonly delta?: object;
  readonly finish?: string;
  readonly logprobs?: object;
}

function chunk(content: unknown, { index = 0, delta, finish, logprobs }: Choice = {}, more: object = {}): string {
  const choice = { index, delta: { content, ...delta }, logprobs: logprobs ?? null, finish_reason: finish ?? null };
  return JSON.stringify({ id: "chatcmpl-1", created: 1_700_000_000, model: "gpt", choices: [choice], ...more });
}

const text = fc.oneof(
  fc.string({ maxLength: 8 }),
  fc.constantFrom(
    "a",
    "-",
    "",
    "Grüße 👋",
    "—",
    '"',
    "\\",
    "\n",
    "\u2028",
    "\u007F",
    "\uD800",
    '","content":"',
    "\\u0041",
  ),
);
const padding = fc.constantFrom("", "x", "xyz", '"', "\\n");

/** Chunks of few shapes, so that many follow one of their own. */
const data = fc.oneof(
  { weight: 10, arbitrary: text.map((content) => chunk(content)) },
  {
    weight: 10,
    arbitrary: fc
      .tuple(text, padding)
      .map(([content, obfuscation]) => chunk(content, {}, { service_tier: "default", usage: null, obfuscation })),
  },
  // Written in other ways than JSON.stringify has, or in none that JSON has.
  {
    weight: 4,
    arbitrary: fc
      .tuple(text, fc.constantFrom("content", "obfuscation"), fc.constantFrom("\\u0061", "\\/", "\\q", "\u0001", "\\"))
      .map(([content, member, put]) =>
        chunk(content, {}, { service_tier: "default", usage: null, obfuscation: "x" }).replace(
          `"${member}":"`,
          () => `"${member}":"${put}`,
        ),
      ),
  },
  text.map((content) => chunk(content, { index: 1 })),
  text.map((content) => chunk(content, { finish: "stop" })),
  text.map((content) => chunk(content, {}, { usage: { prompt_tokens: 1, completion_tokens: 2 } })),
  text.map((content) => chunk(content, { logprobs: { content: [{ token: "a", logprob: 0 }] } })),
  text.map((content) => chunk(content, { delta: { reasoning_content: "hm" } })),
  text.map((content) => chunk("", { delta: { audio: { expires_at: 1_700_000_000, transcript: content } } })),
  text.map((content) => chunk(content, { delta: { tool_calls: [{ index: 0, id: "c", function: { name: "f" } }] } })),
  text.map((content) => chunk(null, { delta: { refusal: content } })),
  text.map((content) => chunk([{ type: "text", text: content }])),
  text.map((content) => chunk("a", {}, { content })),
  fc
    .tuple(text, text)
    .map(([first, second]) =>
      JSON.stringify({ choices: [first, second].map((content, index) => ({ index: 1 - index, delta: { content } })) }),
    ),
  text.map((content) => `{"content":"b",${chunk(content).slice(1)}`),
  text.map((content) => chunk(content).replace('"content":', '"content" : ')),
  text.map((content) => chunk(content).replace('"delta":{', '"delta":{"content":"c",')),
  fc.constantFrom("", "[DONE]", "{}", '{"error":{"code":"x"}}', '{"choices":[]}', chunk(null), "{"),
);

/** Stands for a byte that is no UTF-8. */
const notUtf8 = "\uE000";

const event = fc.oneof(
  { weight: 20, arbitrary: data.map((json) => `data: ${json}\n\n`) },
  text.map((content) => `data: ${chunk(`${notUtf8}${content}`)}\n\n`),
  data.map((json) => `data:${json}\n\n`),
  data.map((json) => `data: ${json}\r\n\r\n`),
  data.map((json) => `: hello\ndata: ${json}\n\n`),
  data.map((json) => `event: ${json.length % 2 === 0 ? "error" : "x"}\ndata: ${json}\n\n`),
  fc.constantFrom(": hello\n\n", "\n"),
);

/** Where bytes are cut, and which byte is another one. */
const handling = fc.record({
  cuts: fc.array(fc.nat(), { maxLength: 4 }),
  damage: fc.oneof(
    { weight: 4, arbitrary: fc.constant(undefined) },
    fc.tuple(fc.nat(), fc.constantFrom(0x00, 0x0a, 0x22, 0x5c, 0x7b, 0x80, 0xc3, 0xff)),
  ),
});

const streams = fc
  .tuple(fc.array(event, { minLength: 2, maxLength: 16, size: "max" }), fc.boolean(), handling)
  .map(([events, one, { cuts, damage }]) => {
    // As many as come at once, or each by itself; and then cut anywhere.
    const runs = one ? [events.join("")] : events;
    const pieces = runs.map((run) => Buffer.from(run));
    for (const piece of pieces) for (let at = 0; (at = piece.indexOf(notUtf8)) >= 0; ) piece.fill(0xe9, at, at + 3);
    if (damage !== undefined) {
      const [at, byte] = damage;
      const piece = pieces[at % Math.max(1, pieces.length)];
      if (piece !== undefined && piece.length > 0) piece[at % piece.length] = byte;
    }
    return pieces.flatMap((piece, index) => {
      const cut = (cuts[index] ?? 0) % (piece.length + 1);
      return [piece.subarray(0, cut), piece.subarray(cut)].filter(({ length }) => length > 0);
    });
  });

function textOf(piece: Piece | undefined): string | undefined {
  return Buffer.isBuffer(piece) ? piece.toString("latin1") : undefined;
}

/** All that becomes of a stream, piece by piece. */
function translate(source: Codec, pieces: readonly Buffer[]) {
  const stream = translated(source, { codec: anthropicMessages, options }).openStream();
  const said = pieces.map((piece) => {
    const bytes = stream.push(Buffer.from(piece));
    const { content, complete, fault, usage, replyId } = stream.facts;
    const counts = [stream.contentEvents(), stream.outputTokens()];
    return { said: textOf(bytes), content, complete, fault, usage, replyId, counts };
  });
  return [...said, textOf(stream.end()), { ...stream.facts }];
}

test("a client gets of a stream what it gets when every chunk is parsed, piece by piece", () => {
  fc.assert(
    fc.property(streams, (pieces) => {
      expect(translate(openaiChat, pieces)).toEqual(translate(parsing, pieces));
    }),
    { numRuns },
  );
});

const usual = chunk("text", {}, { obfuscation: "pad" });

test.each([
  ["an escape that JSON has", "text", Buffer.from("\\u0061")],
  ["an escape that it has not", "text", Buffer.from("\\q")],
  ["a control character", "text", Buffer.from("\u0001")],
  ["what is no UTF-8", "text", Buffer.from([0xe9])],
  ["nothing", "text", Buffer.alloc(0)],
  ["an escape that JSON has not, in the padding", "pad", Buffer.from("\\q")],
])("among texts of one shape is one with %s", (_, place, put) => {
  const [before = "", after = ""] = usual.split(place);
  const odd = Buffer.concat([Buffer.from(`data: ${before}`), put, Buffer.from(`${after}\n\n`)]);
  const plain = Buffer.from(`data: ${usual}\n\n`);
  const pieces = [plain, plain, odd, plain];
  expect(translate(openaiChat, pieces)).toEqual(translate(parsing, pieces));
});

test("pieces of text are passed without a parser", () => {
  const stream = translated(openaiChat, { codec: anthropicMessages, options }).openStream();
  const push = (...contents: string[]) =>
    textOf(stream.push(Buffer.from(contents.map((content) => `data: ${chunk(content)}\n\n`).join(""))));
  push("");
  push("first");
  const parse = vi.spyOn(JSON, "parse");
  try {
    const said = ["a", " Grüße 👋", "</p>"].map((content) => push(content)).join("") + push("b", "c");
    expect(parse).not.toHaveBeenCalled();
    const texts = [...said.matchAll(/"text":"(.*?)"/g)].map(([, inside = ""]) =>
      Buffer.from(inside, "latin1").toString(),
    );
    expect(texts).toEqual(["a", " Grüße 👋", "</p>", "b", "c"]);
    // What takes a parser is parsed, and what comes after it is found again.
    for (const content of ["\n", '"', "\\", "d", "\n", "e", "f"]) push(content);
    expect(parse.mock.calls.length).toBeGreaterThan(0);
    parse.mockClear();
    push("g");
    expect(parse).not.toHaveBeenCalled();
  } finally {
    parse.mockRestore();
  }
});
