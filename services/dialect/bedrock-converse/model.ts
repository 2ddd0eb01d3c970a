import { type ModelTraits, traitsOf } from "../claude/traits.ts";

/** What a target's model takes, as far as requests must be written differently for it. */
export interface Model {
  readonly family: Family;
  /** What it takes if it is one of Anthropic's; those of older ones where the id does not tell. */
  readonly traits: ModelTraits;
}

/** Whose parameters a model takes in `additionalModelRequestFields`. */
type Family =
  | "anthropic"
  | "nova"
  /** Another vendor's, whose parameters are not known here. */
  | "other"
  /** Not told by the id: an application inference profile, provisioned throughput, a prompt. */
  | "hidden";

/** What a model takes, by its id or ARN. https://docs.aws.amazon.com/bedrock/latest/userguide/models-supported.html */
export function readModel(id: string): Model {
  return { family: familyOf(id), traits: traitsOf(id) };
}

function familyOf(id: string): Family {
  if (id.includes("anthropic.") || id.includes("claude")) return "anthropic";
  if (id.includes("amazon.nova")) return "nova";
  return id.startsWith("arn:") && !/[:/](foundation-model|inference-profile)\//.test(id) ? "hidden" : "other";
}

/** Whether a model takes Anthropic's parameters; where the id does not tell, it is taken for one that does. */
export function isAnthropic({ family }: Model): boolean {
  return family === "anthropic" || family === "hidden";
}
