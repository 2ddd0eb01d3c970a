import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { MessageSchema, Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { expect, test } from "vitest";
import { traitsOf } from "../claude/traits.ts";
import { writeTurns } from "./turns.ts";

type MessageInit = MessageInitShape<typeof MessageSchema>;

function say(role: Role, ...texts: string[]): MessageInit {
  return { role, parts: texts.map((text) => ({ content: { case: "text", value: { text } } })) };
}

function result(toolCallId: string): MessageInit {
  return { role: Role.TOOL, parts: [{ content: { case: "toolResult", value: { toolCallId } } }] };
}

function write(messages: readonly MessageInit[], model = "claude-opus-4-8") {
  const warnings: Warning[] = [];
  const whole = messages.map((message) => create(MessageSchema, message));
  const turns = writeTurns(whole, traitsOf(model), warnings);
  return { ...turns, params: warnings.map(({ param }) => param) };
}

const hello = say(Role.USER, "hi");
const answer = say(Role.ASSISTANT, "yes");

test("neighbours of one role become one turn, results of tools first", () => {
  const { messages } = write([
    hello,
    say(Role.ASSISTANT, "a"),
    say(Role.ASSISTANT, "b"),
    result("1"),
    say(Role.USER, "c"),
    result("2"),
  ]);
  expect(messages).toEqual([
    { role: "user", content: "hi" },
    {
      role: "assistant",
      content: [
        { type: "text", text: "a" },
        { type: "text", text: "b" },
      ],
    },
    {
      role: "user",
      content: [
        { type: "tool_result", tool_use_id: "1" },
        { type: "tool_result", tool_use_id: "2" },
        { type: "text", text: "c" },
      ],
    },
  ]);
});

test("instructions at the beginning become one system prompt", () => {
  expect(write([say(Role.SYSTEM, "a"), say(Role.DEVELOPER, "b"), hello])).toEqual({
    system: [
      { type: "text", text: "a" },
      { type: "text", text: "b" },
    ],
    messages: [{ role: "user", content: "hi" }],
    params: [],
  });
});

test("later instructions stay where the vendor lets them, for models that know such messages", () => {
  const messages = [say(Role.SYSTEM, "a"), hello, say(Role.SYSTEM, "b"), answer, hello, say(Role.DEVELOPER, "c")];
  expect(write(messages)).toEqual({
    system: "a",
    messages: [
      { role: "user", content: "hi" },
      { role: "system", content: "b" },
      { role: "assistant", content: "yes" },
      { role: "user", content: "hi" },
      { role: "system", content: "c" },
    ],
    params: [],
  });
});

test.each([
  ["for an older model", "claude-opus-4-7", [hello, say(Role.SYSTEM, "b"), answer], ["user", "assistant"]],
  ["for a model of another vendor", "deepseek-chat", [hello, say(Role.SYSTEM, "b"), answer], ["user", "assistant"]],
  ["after the assistant", "claude-opus-4-8", [hello, answer, say(Role.SYSTEM, "b")], ["user", "assistant"]],
  ["between two of the user", "claude-opus-4-8", [hello, say(Role.SYSTEM, "b"), hello], ["user"]],
])("instructions %s are moved to the beginning, with a warning", (_, model, messages, roles) => {
  const turns = write(messages, model);
  expect(turns.system).toBe("b");
  expect(turns.messages.map(({ role }) => role)).toEqual(roles);
  expect(turns.params).toEqual([`messages[${messages.findIndex(({ role }) => role === Role.SYSTEM)}]`]);
});

test("texts without a character are left out, and with them messages that say nothing", () => {
  expect(write([hello, say(Role.ASSISTANT, ""), say(Role.USER, "a", "")]).messages).toHaveLength(1);
});

test.each([[[say(Role.USER, "")]], [[say(Role.SYSTEM, "a")]], [[]]])(
  "a conversation in which nobody speaks is refused",
  (messages) => {
    expect(() => write(messages)).toThrow(
      expect.objectContaining({ reason: ErrorReason.TARGET_UNSUPPORTED, metadata: { param: "messages" } }),
    );
  },
);

test("a role that is none is refused", () => {
  expect(() => write([say(Role.UNSPECIFIED, "a")])).toThrow(
    expect.objectContaining({ reason: ErrorReason.TARGET_UNSUPPORTED, metadata: { param: "messages[0].role" } }),
  );
});

test("the name of a speaker is dropped, with a warning", () => {
  expect(write([{ ...hello, name: "Ann" }]).params).toEqual(["messages[0].name"]);
});
