import { type JsonObject, parseObject, rawJson, writeJson } from "../json.ts";

// What a model wrote as arguments need not be an object of JSON; the vendor's own advice is to wrap it so:
// https://platform.claude.com/docs/en/agents-and-tools/tool-use/fine-grained-tool-streaming#handling-invalid-json-in-tool-responses
const invalidMember = "INVALID_JSON";

/** The `input` for arguments, for {@link writeJson}: byte for byte as they are when they are an object. */
export function writeInput(text: string): unknown {
  if (text.trim() === "") return {};
  const json = parseObject(text);
  return json === undefined || unwrap(json) !== undefined ? { [invalidMember]: text } : rawJson(text);
}

/** The arguments that an `input` stands for. */
export function readInput(input: JsonObject): string {
  return unwrap(input) ?? writeJson(input);
}

function unwrap(input: JsonObject): string | undefined {
  const text = input[invalidMember];
  return typeof text === "string" && Object.keys(input).length === 1 ? text : undefined;
}

const isOwnId = /^[\w-]+$/;

/**
 * The id of a call as the vendor takes it: letters, digits, `_` and `-`. Ids of vendors with other habits are spelled in
 * base64url, so that call and result still pair.
 */
export function writeCallId(id: string): string {
  return isOwnId.test(id) ? id : `call_${Buffer.from(id).toString("base64url")}`;
}
