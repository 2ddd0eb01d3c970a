import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { dropped } from "../events.ts";
import { unsupported } from "../faults.ts";
import type { EmbeddingInput, EmbeddingRequest } from "./embedding.ts";

/** Hints of a request that a target cannot be told; a canonical request's encoding is the gateway's own business. */
export type Hint = "task" | "title" | "user";

/**
 * The warnings for what is left out of a request.
 * @param target name of the target's dialect
 * @param expressed hints that it has a place for
 */
export function omissionsOf(
  { inputs, user, extensions }: EmbeddingRequest,
  target: string,
  expressed: readonly Hint[] = [],
): Warning[] {
  const there: Readonly<Record<Hint, boolean>> = {
    task: inputs.some(({ task }) => task !== undefined),
    title: inputs.some(({ title }) => title !== undefined),
    user: user !== undefined,
  };
  const hints = hintNames.filter((hint) => there[hint] && !expressed.includes(hint));
  const members = Object.entries(extensions).flatMap(([dialect, further]) =>
    dialect === target ? [] : Object.keys(further).map((name) => `extensions.${dialect}.${name}`),
  );
  return [...hints, ...members].map((param) => dropped(param, target));
}

const hintNames: readonly Hint[] = ["task", "title", "user"];

/**
 * What all inputs have in common, for targets that are told it once.
 * @throws WeirError TARGET_UNSUPPORTED when they differ
 */
export function common<K extends "dimensions" | "task" | "title">(
  inputs: readonly EmbeddingInput[],
  key: K,
): EmbeddingInput[K] | undefined {
  const [first] = inputs;
  if (inputs.every((input) => input[key] === first?.[key])) return first?.[key];
  throw unsupported(`This target takes one \`${key}\` for all inputs of a request.`, key);
}

/**
 * The texts of all inputs.
 * @throws WeirError TARGET_UNSUPPORTED for tokens, which are numbers of one model's vocabulary
 */
export function textsOf(inputs: readonly EmbeddingInput[]): string[] {
  return inputs.map(({ content }, index) => {
    if (typeof content === "string") return content;
    throw unsupported("This target takes texts, no tokens.", `inputs[${index}]`);
  });
}

/**
 * The one input of a request, for targets that take no list.
 * @throws WeirError TARGET_UNSUPPORTED
 */
export function onlyInput({ inputs: [input, second] }: EmbeddingRequest): EmbeddingInput {
  if (input !== undefined && second === undefined) return input;
  throw unsupported("This model takes one input in a request.", "inputs");
}
