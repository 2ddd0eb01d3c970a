import { hash } from "node:crypto";

// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolUseBlock.html
const isAllowed = /^[\w.:-]{1,64}$/;

/**
 * The id of a tool call as Bedrock takes it. One that Bedrock allows stays as it is; one of a vendor with other habits
 * becomes its digest, so that call and result still pair, in this turn and in later ones.
 */
export function toolId(id: string): string {
  return isAllowed.test(id) ? id : `call-${hash("sha256", id).slice(0, 32)}`;
}
