import fc from "fast-check";
import { expect, test } from "vitest";
import { UsageWatch } from "./usage-watch.ts";

/** What is found when the bytes come in pieces of the given sizes. */
function watch(endpoint: string, text: string, sizes: readonly number[] = []) {
  const watched = new UsageWatch(endpoint);
  const bytes = Buffer.from(text);
  let at = 0;
  for (const size of sizes) {
    watched.push(bytes.subarray(at, at + size));
    at += size;
  }
  watched.push(bytes.subarray(at));
  return watched.usage;
}

const image = `{"created":1,"data":[{"b64_json":"${"QUJD".repeat(2000)}"}],"usage":{"total_tokens":100,"input_tokens":50,"output_tokens":50,"input_tokens_details":{"text_tokens":10,"image_tokens":40}}}`;

test.each([
  ["an image", "images", image, { inputTokens: 50, outputTokens: 50, imageInputTokens: 40, imageOutputTokens: 50 }],
  [
    "a transcription by tokens",
    "audio",
    '{"text":"say \\"usage\\": {\\"input_tokens\\":9}","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":0,"audio_tokens":14},"output_tokens":45,"total_tokens":59}}',
    { inputTokens: 14, outputTokens: 45, audioInputTokens: 14 },
  ],
  [
    "a transcription by seconds",
    "audio",
    '{"text":"hi","usage":{"type":"duration","seconds":8.2}}',
    { serverToolUses: { audio_seconds: 9 } },
  ],
  [
    "Cohere's rerank",
    "rerank",
    '{"id":"x","results":[],"meta":{"api_version":{"version":"2"},"billed_units":{"search_units":1}}}',
    { serverToolUses: { search_units: 1 } },
  ],
  ["Jina's rerank", "rerank", '{"usage": {"total_tokens": 38}, "results":[]}', { inputTokens: 38, outputTokens: 0 }],
  [
    "the last event",
    "audio",
    'data: {"type":"speech.audio.delta","audio":"AAA","usage":null}\n\ndata: {"type":"speech.audio.done","usage":{"input_tokens":7,"output_tokens":101,"total_tokens":108}}\n\n',
    { inputTokens: 7, outputTokens: 101 },
  ],
])("%s: usage is found wherever the bytes are cut", (_name, endpoint, text, expected) => {
  expect(watch(endpoint, text)).toMatchObject(expected);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 200 }), { maxLength: 60 }), (sizes) => {
      expect(watch(endpoint, text, sizes)).toEqual(watch(endpoint, text));
    }),
    { numRuns: 200 },
  );
});

test.each([
  '{"text":"\\"usage\\":{\\"input_tokens\\":5}"}',
  '{"usage":"none"}',
  '{"usage":{"input_tokens":-1}}',
  '{"usage":{"input_tokens":1.5}}',
  '{"usage":{"other":{}}}',
  `{"usage":{${'"a":1,'.repeat(10_000)}"input_tokens":5}}`,
  '{"usage":{"input_tokens":5',
])("nothing is taken for usage that is none: %#", (text) => {
  expect(watch("audio", text)).toBeUndefined();
});

test("random bytes neither throw nor hold more than one object", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 20 }), (pieces) => {
      const watched = new UsageWatch("images");
      for (const piece of pieces) watched.push(Buffer.concat([Buffer.from('"usage":{'), piece]));
    }),
    { numRuns: 200 },
  );
});
