import { isObject, type JsonObject } from "../json.ts";

/** Members that only answers have. */
const outputOnly: ReadonlySet<string> = new Set(["created_by", "parsed", "parsed_arguments", "logprobs"]);

/**
 * The output items of a finished Response as input items of the next turn, in order. Only members that a request cannot have
 * are taken off; what a request cannot repeat without changing its meaning, a failed screenshot and an unfinished output of
 * a tool, is left out, as OpenAI's own library does
 * (https://github.com/openai/openai-node/blob/master/src/lib/responses/ResponseInputItems.ts).
 * @param response a Response as it was sent or stored
 */
export function outputAsInput(response: JsonObject): JsonObject[] {
  const output = response["output"];
  if (!Array.isArray(output)) return [];
  return (output as readonly unknown[]).filter(isObject).filter(isRepeatable).map(asInput);
}

function isRepeatable({ type, status, role }: JsonObject): boolean {
  switch (type) {
    case "additional_tools":
      return role === "developer";
    case "computer_call_output":
      return status !== "failed";
    case "custom_tool_call_output":
      return status === undefined || status === "completed";
    default:
      return true;
  }
}

function asInput(item: JsonObject): JsonObject {
  const kept = without(item, outputOnly);
  if (item["type"] === "custom_tool_call_output") return without(kept, statusOnly);
  const { content } = item;
  if (item["type"] !== "message" || !Array.isArray(content)) return kept;
  return {
    ...kept,
    content: (content as readonly unknown[]).map((part) => (isObject(part) ? without(part, outputOnly) : part)),
  };
}

const statusOnly: ReadonlySet<string> = new Set(["status"]);

function without(json: JsonObject, members: ReadonlySet<string>): JsonObject {
  return Object.fromEntries(Object.entries(json).filter(([name]) => !members.has(name)));
}
