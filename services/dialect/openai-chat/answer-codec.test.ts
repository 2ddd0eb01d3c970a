import fc from "fast-check";
import { expect, test } from "vitest";
import type { AnswerOptions } from "../codec.ts";
import { parseExact } from "../json.ts";
import { readAnswer } from "./read-answer.ts";
import { clientRequest, replies, whole } from "./testing/replies.ts";
import { writeAnswer } from "./write-answer.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000);

const options: AnswerOptions = {
  id: "chatcmpl-own",
  createTimeMs: 1_000,
  model: "alias",
  includeUsage: true,
  request: clientRequest,
};

test(
  "an answer comes back as it was",
  () => {
    fc.assert(
      fc.property(replies, (events) => {
        const reading = readAnswer(parseExact(writeAnswer(events, options)) ?? {});
        expect(whole(reading?.events ?? [], "by kind")).toEqual(whole(events, "by kind"));
        expect(reading?.usage?.sound ?? true).toBe(true);
      }),
      { numRuns },
    );
  },
  20_000 + numRuns * 20,
);
