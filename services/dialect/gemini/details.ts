import type { JsonObject as Struct } from "@bufbuild/protobuf";
import { isObject, type JsonObject } from "../json.ts";
import { parseJson } from "../parse-json.ts";
import { dialectName } from "./name.ts";

/** What Gemini says of an answer and no canonical field holds. */
export interface Details {
  /** Members of the response: `promptFeedback`, `modelStatus` and others. */
  readonly response: JsonObject;
  /** Members of candidates by their index: `groundingMetadata`, `safetyRatings`, `finishMessage` and others. */
  readonly candidates: ReadonlyMap<number, JsonObject>;
}

const none: Details = { response: {}, candidates: new Map() };

/** Keeps details for `ReplyEnd.details`, under this dialect's name; undefined when there are none. */
export function holdDetails({ response, candidates }: Details): Struct | undefined {
  const list = [...candidates].filter(([, members]) => Object.keys(members).length > 0);
  if (Object.keys(response).length === 0 && list.length === 0) return undefined;
  const held = {
    ...response,
    ...(list.length === 0 ? {} : { candidates: list.map(([index, members]) => ({ ...members, index })) }),
  };
  // Numbers that `parseExact` kept as they stood become doubles, which is all that a Struct holds.
  return { [dialectName]: parseJson(JSON.stringify(held)) as Struct };
}

/** The details that {@link holdDetails} kept; none of other dialects. */
export function heldDetails(details: Struct | undefined): Details {
  const held = details?.[dialectName];
  if (!isObject(held)) return none;
  const { candidates, ...response } = held;
  const list: readonly unknown[] = Array.isArray(candidates) ? candidates : [];
  return {
    response,
    candidates: new Map(
      list.filter(isObject).map(({ index, ...members }) => [typeof index === "number" ? index : 0, members]),
    ),
  };
}
