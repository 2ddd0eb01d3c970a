import type { Message } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { joinTurns, speakerOf, takeInstructions, type Turn } from "../alternating-turns.ts";
import { unsupported } from "../faults.ts";
import type { JsonObject } from "../json.ts";
import { createDocumentNames } from "./document-names.ts";
import type { Model } from "./model.ts";
import { type Blocks, type Scope, writeParts } from "./parts-writer.ts";
import { dropped } from "./warnings.ts";

/** A conversation in this dialect. */
interface Conversation {
  readonly system: readonly JsonObject[];
  readonly messages: readonly JsonObject[];
}

/**
 * Writes a conversation. Neighbours of one role become one turn, since Bedrock wants turns to alternate; the results of
 * tools are the user's, and come first. Instructions at the beginning are `system`. Later ones stay in their place where
 * the model takes them, behind a turn of the user's and before one of the assistant's or at the end; elsewhere they join
 * `system`, with a warning.
 * https://platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages
 * @param warnings gets what was left out
 */
export function writeConversation(messages: readonly Message[], model: Model, warnings: Warning[]): Conversation {
  const scope: Scope = { model, names: createDocumentNames(), warnings };
  const turns = joinTurns(messages.map((message, index) => writeMessage(message, index, scope)));
  const { system, conversation } = takeInstructions(turns, model.traits.systemMessages, warnings);
  return {
    system: system.flat(),
    messages: conversation.map(({ speaker, blocks }) => ({ role: speaker, content: ordered(blocks).flat() })),
  };
}

function writeMessage({ role, name, parts }: Message, index: number, scope: Scope): Turn<Blocks> {
  const param = `messages[${index}]`;
  const speaker = speakerOf(role);
  if (speaker === undefined) throw unsupported("Bedrock knows no such role.", `${param}.role`);
  if (name !== "") scope.warnings.push(dropped(`${param}.name`));
  const blocks = writeParts(parts, param, scope);
  // https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_SystemContentBlock.html
  if (speaker === "system" && !blocks.every(([block]) => block !== undefined && "text" in block)) {
    throw unsupported("Bedrock takes nothing but text as instructions.", `${param}.parts`);
  }
  return { speaker, blocks, index };
}

/** Results of tools first, as models demand. */
function ordered(content: readonly Blocks[]): readonly Blocks[] {
  const isResult = ([block]: Blocks) => block !== undefined && "toolResult" in block;
  return [...content.filter(isResult), ...content.filter((blocks) => !isResult(blocks))];
}
