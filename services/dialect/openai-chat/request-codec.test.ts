import { equals, toJson } from "@bufbuild/protobuf";
import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseExact, writeJson } from "../json.ts";
import { readRequest } from "./read-request.ts";
import { requests } from "./testing/requests.ts";
import { compatibleTraits, openaiTraits, type TargetTraits } from "./traits.ts";
import { writeRequest } from "./write-request.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 2_000);

const compatible: TargetTraits = {
  ...compatibleTraits,
  developerRole: true,
  streamsUsage: false,
  reasoning: "reasoning_details",
  cacheMarks: "cache_control",
  callSignatures: true,
  topK: true,
  modalities: ["audio", "image"],
};

const targets: readonly (readonly [string, TargetTraits])[] = [
  ["OpenAI", openaiTraits],
  ["OpenAI's newest models", { ...openaiTraits, cacheMarks: "prompt_cache_breakpoint" }],
  ["a vendor that knows more", compatible],
  ["a vendor with reasoning_content", { ...openaiTraits, reasoning: "reasoning_content" }],
  ["a vendor with reasoning", { ...openaiTraits, reasoning: "reasoning" }],
];

test.each(targets)(
  "what %s can be told comes back as it was, without a warning",
  (_, traits) => {
    fc.assert(
      fc.property(requests(traits), fc.boolean(), (request, stream) => {
        const { body, warnings } = writeRequest(request, { model: "m", stream, maxOutputTokensDefault: 1 }, traits);
        expect(warnings).toEqual([]);
        const read = readRequest(parseExact(writeJson(body)) ?? {});
        if (equals(GenerateRequestSchema, read, request)) return;
        expect(toJson(GenerateRequestSchema, read)).toEqual(toJson(GenerateRequestSchema, request));
      }),
      { numRuns: Math.ceil(numRuns / targets.length) },
    );
  },
  20_000 + numRuns * 20,
);
