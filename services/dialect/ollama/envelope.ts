import type { Envelope } from "../codec.ts";
import { invalid } from "../faults.ts";
import { isJsonObject, readFlag, readList, readObject, readText, required } from "../fields.ts";
import type { JsonObject } from "../json.ts";
import { outputTokensMax } from "./members.ts";

const modelLengthMax = 512;

/**
 * Reads what limits and routing need. Of the messages only their shape is checked; there may be none, which loads the
 * model.
 * @throws WeirError INVALID_REQUEST with `param`
 */
export function readEnvelope(body: JsonObject): Envelope {
  const maxOutputTokens = readOutputLimit(readObject(body["options"], "options")?.["num_predict"]);
  checkMessages(body["messages"]);
  return {
    model: readModel(body),
    stream: readFlag(body["stream"], "stream") ?? true,
    includeUsage: true,
    ...(maxOutputTokens === undefined ? {} : { maxOutputTokens }),
    choiceCount: 1,
  };
}

/** The model that the caller names. */
export function readModel(body: JsonObject): string {
  const model = required(readText(body["model"], "model", modelLengthMax), "model");
  if (model === "") throw invalid("`model` must not be empty.", "model");
  return model;
}

/** The output limit; undefined when there is none: 0, -1 and -2 stand for no limit and for a full context. */
export function readOutputLimit(value: unknown): number | undefined {
  if (value == null) return undefined;
  if (!Number.isInteger(value) || (value as number) < -2 || (value as number) > outputTokensMax) {
    throw invalid(
      `\`options.num_predict\` must be a whole number up to ${outputTokensMax}, or -1 or -2.`,
      "options.num_predict",
    );
  }
  return (value as number) > 0 ? (value as number) : undefined;
}

function checkMessages(value: unknown): void {
  for (const [index, message] of (readList(value, "messages") ?? []).entries()) {
    const param = `messages[${index}]`;
    if (!isJsonObject(message)) throw invalid("A message must be an object.", param);
    if (typeof message["role"] !== "string") throw invalid("`role` must be a text.", `${param}.role`);
  }
}
