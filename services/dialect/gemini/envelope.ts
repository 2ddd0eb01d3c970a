import type { Envelope } from "../codec.ts";
import { invalid } from "../faults.ts";
import { isJsonObject, readList, readObject, readWhole, required } from "../fields.ts";
import type { JsonObject } from "../json.ts";
import { choicesMax, outputTokensMax } from "./generation-reader.ts";
import { tierOfRequest } from "../service-tier.ts";
import { memberNames, sortMembers } from "./members.ts";

const bodyNames = memberNames("contents generationConfig serviceTier");
const configNames = memberNames("candidateCount maxOutputTokens");
const roles: ReadonlySet<unknown> = new Set([undefined, null, "", "user", "model", "function"]);

/**
 * Reads what limits and routing need. Model and stream stand in the path, and a stream always shows its usage.
 * @throws WeirError INVALID_REQUEST with `param`
 */
export function readEnvelope(body: JsonObject): Envelope {
  const { contents, generationConfig, serviceTier } = sortMembers(body, bodyNames, "").known;
  checkContents(contents);
  const config = readObject(generationConfig, "generationConfig") ?? {};
  const { candidateCount, maxOutputTokens } = sortMembers(config, configNames, "generationConfig").known;
  const choiceCount = readWhole(candidateCount, "generationConfig.candidateCount", 1, choicesMax) ?? 1;
  const perChoice = readWhole(maxOutputTokens, "generationConfig.maxOutputTokens", 1, outputTokensMax);
  const tier = tierOfRequest(serviceTier);
  return {
    includeUsage: true,
    choiceCount,
    ...(perChoice === undefined ? {} : { maxOutputTokens: perChoice * choiceCount }),
    ...(tier === undefined ? {} : { serviceTier: tier }),
  };
}

function checkContents(value: unknown): void {
  const contents = required(readList(value, "contents"), "contents");
  if (contents.length === 0) throw invalid("`contents` must hold at least one content.", "contents");
  for (const [index, content] of contents.entries()) {
    const param = `contents[${index}]`;
    if (!isJsonObject(content)) throw invalid("A content must be an object.", param);
    if (!roles.has(content["role"])) throw invalid("`role` must be `user` or `model`.", `${param}.role`);
  }
}
