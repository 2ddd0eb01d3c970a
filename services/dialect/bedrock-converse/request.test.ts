import { create, equals, toJson } from "@bufbuild/protobuf";
import { type GenerateRequest, GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseExact, writeJson } from "../json.ts";
import { readRequest } from "./request-reader.ts";
import { writeRequest } from "./request-writer.ts";
import { expressible } from "./testing/requests.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1_000);

function there(request: GenerateRequest, model: string): string {
  const { body, warnings } = writeRequest(request, { model, stream: false, maxOutputTokensDefault: 4_096 });
  expect(warnings).toEqual([]);
  return writeJson(body);
}

function back(text: string): GenerateRequest {
  const body = parseExact(text);
  if (body === undefined) throw new Error("no JSON object");
  return readRequest(body);
}

test("what the dialect can express comes back as it was, without a warning", () => {
  fc.assert(
    fc.property(expressible, ({ model, request }) => {
      const text = there(request, model);
      const read = back(text);
      if (equals(GenerateRequestSchema, read, request)) return;
      expect(toJson(GenerateRequestSchema, read)).toEqual(toJson(GenerateRequestSchema, request));
    }),
    { numRuns },
  );
});

test("an empty request is an empty body", () => {
  expect(there(create(GenerateRequestSchema), "amazon.nova-pro-v1:0")).toBe("{}");
});
