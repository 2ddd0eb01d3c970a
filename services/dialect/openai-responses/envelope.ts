import type { Envelope } from "../codec.ts";
import { invalid } from "../faults.ts";
import type { JsonObject } from "../json.ts";
import { tierOfRequest } from "../service-tier.ts";
import { readBoolean, readText, readWhole } from "./checks.ts";

const modelLengthMax = 512;
const userLengthMax = 256;
const outputTokensMax = 10_000_000;

/** Reads what limits and routing need of a request. */
export function readEnvelope(body: JsonObject): Envelope {
  const input = body["input"];
  if (input != null && typeof input !== "string" && !Array.isArray(input)) {
    throw invalid("`input` must be a text or a list of items.", "input");
  }
  const maxOutputTokens = readMaxOutputTokens(body);
  const user = readUser(body);
  const serviceTier = tierOfRequest(body["service_tier"]);
  return {
    model: readModel(body),
    stream: readBoolean(body["stream"], "stream") ?? false,
    includeUsage: true,
    ...(maxOutputTokens === undefined ? {} : { maxOutputTokens }),
    choiceCount: 1,
    ...(user === "" ? {} : { user }),
    ...(serviceTier === undefined ? {} : { serviceTier }),
  };
}

export function readModel(body: JsonObject): string {
  const model = body["model"];
  if (model === undefined) throw invalid("`model` is missing; name the model to call.", "model");
  if (typeof model !== "string" || model === "") throw invalid("`model` must be a text that is not empty.", "model");
  if (model.length > modelLengthMax) throw invalid(`\`model\` is longer than ${modelLengthMax} characters.`, "model");
  return model;
}

export function readMaxOutputTokens(body: JsonObject): number | undefined {
  return readWhole(body["max_output_tokens"], "max_output_tokens", 1, outputTokensMax);
}

/** The end user: `safety_identifier`, else `user`, which it replaces; empty when neither is there. */
export function readUser(body: JsonObject): string {
  const user = readUserText(body, "user");
  const safetyIdentifier = readUserText(body, "safety_identifier");
  return safetyIdentifier === "" ? user : safetyIdentifier;
}

function readUserText(body: JsonObject, member: "user" | "safety_identifier"): string {
  const text = readText(body[member], member);
  if (text.length > userLengthMax) throw invalid(`\`${member}\` is longer than ${userLengthMax} characters.`, member);
  return text;
}
