import fc from "fast-check";
import { expect, test } from "vitest";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { BatchOutput, readBatch } from "./batch-usage.ts";

const line = (body: unknown) =>
  `${JSON.stringify({ custom_id: "a", response: { status_code: 200, body }, error: null })}\n`;
const chat = (model: string, input: number, output: number, text = "hi\n") =>
  line({
    model,
    choices: [{ message: { content: text } }],
    usage: { prompt_tokens: input, completion_tokens: output },
  });

function read(text: string, sizes: readonly number[] = []) {
  const output = new BatchOutput();
  const bytes = Buffer.from(text);
  let at = 0;
  for (const size of sizes) output.push(bytes.subarray(at, (at += size)));
  output.push(bytes.subarray(at));
  return output.end();
}

test("lines add up by model, wherever the file is cut; what texts say counts for nothing", () => {
  const text =
    chat("m-1", 10, 2) +
    chat("m-2", 7, 1) +
    line({ error: {} }) +
    chat("m-1", 5, 3, '{"usage":{"prompt_tokens":9}}').trimEnd();
  const expected = [
    { model: "m-1", usage: { inputTokens: 15, outputTokens: 5 } },
    { model: "m-2", usage: { inputTokens: 7, outputTokens: 1 } },
  ];
  expect(read(text)).toMatchObject(expected);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 120 }), { maxLength: 20 }), (sizes) => {
      expect(read(text, sizes)).toEqual(read(text));
    }),
    { numRuns: 200 },
  );
});

test("a file of which a line cannot be read has no sum, and neither has one beyond what a count holds", () => {
  expect(read(chat("m", 1, 1) + '{"response":')).toBeUndefined();
  expect(read(chat("m", 4_294_967_295, 1) + chat("m", 1, 1))).toBeUndefined();
  expect(read("")).toEqual([]);
});

test.each([
  ["validating", undefined],
  ["in_progress", undefined],
  ["finalizing", undefined],
  ["cancelling", undefined],
  ["completed", AttemptOutcome.COMPLETED],
  ["expired", AttemptOutcome.CANCELLED],
  ["cancelled", AttemptOutcome.CANCELLED],
  ["failed", AttemptOutcome.REJECTED],
])("a batch that is %s ends with outcome %s", (status, outcome) => {
  expect(readBatch({ status })?.outcome).toBe(outcome);
});

const usage = { input_tokens: 5, output_tokens: 2, total_tokens: 7 };

test.each([
  ["usage and model", { usage, model: "m" }, { reported: { model: "m", usage: { inputTokens: 5 } }, isEmpty: false }],
  ["usage of no model", { usage, output_file_id: "file-1" }, { reported: undefined, outputFileId: "file-1" }],
  [
    "zeros, as batches had before",
    { usage: { input_tokens: 0, output_tokens: 0 }, model: "m" },
    { reported: undefined },
  ],
  ["that no request was done", { request_counts: { total: 2, completed: 0, failed: 2 } }, { isEmpty: true }],
  ["nothing", {}, { isEmpty: false, reported: undefined, outputFileId: undefined }],
  ["a time", { completed_at: 1_700_000_000 }, { endTime: 1_700_000_000 }],
  ["times that are none", { completed_at: "now", expired_at: -1 }, { endTime: undefined }],
])("a batch that has ended and says %s", (_name, more, expected) => {
  expect(readBatch({ status: "completed", ...more })).toMatchObject(expected);
});
