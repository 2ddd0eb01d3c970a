import type { JsonObject as Struct } from "@bufbuild/protobuf";
import { isObject, type JsonObject } from "../json.ts";
import { asStruct } from "./citation.ts";

/** What an answer says at its end and no canonical field holds, under the names that Converse gives it. */
const names = ["additionalModelResponseFields", "metrics", "performanceConfig", "serviceTier", "trace"] as const;

type Name = (typeof names)[number];

/** Collects the details of an answer, or of the last frames of a stream; undefined when there are none. */
export function readDetails(json: JsonObject, wanted: readonly Name[] = names): Struct | undefined {
  const details: Record<string, unknown> = {};
  for (const name of wanted) if (isObject(json[name])) details[name] = json[name];
  return Object.keys(details).length === 0 ? undefined : asStruct(details);
}

/** The details that an answer of this dialect has room for; those of other vendors have other names. */
export function writeDetails(details: JsonObject | undefined, wanted: readonly Name[]): JsonObject {
  const written: Record<string, unknown> = {};
  for (const name of wanted) {
    const value = details?.[name];
    if (isObject(value)) written[name] = value;
  }
  return written;
}

/** The stop sequence that was met; told only to those who ask for `/stop_sequence`. */
export function readStopSequence(json: JsonObject): string {
  const fields = json["additionalModelResponseFields"];
  const sequence = isObject(fields) ? fields["stop_sequence"] : undefined;
  return typeof sequence === "string" ? sequence : "";
}
