import type { JsonObject as Struct } from "@bufbuild/protobuf";
import type { JsonObject } from "../json.ts";

/** How long a server took, in nanoseconds. */
const durations = ["total_duration", "load_duration", "prompt_eval_duration", "eval_duration"] as const;

/** What the end of an answer says that no field holds; undefined when that is nothing. */
export function readDetails(json: JsonObject): Struct | undefined {
  const details = pick(json);
  return Object.keys(details).length === 0 ? undefined : details;
}

/** The members that {@link readDetails} found; of other vendors' details none. */
export function writeDetails(details: Struct | undefined): JsonObject {
  return details === undefined ? {} : pick(details);
}

function pick(json: JsonObject): Struct {
  const picked: Struct = {};
  for (const name of durations) {
    const value = json[name];
    if (typeof value === "number") picked[name] = value;
  }
  return picked;
}
