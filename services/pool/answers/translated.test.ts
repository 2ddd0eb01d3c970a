import type { Codec } from "@weir/dialect/codec";
import { choiceEnd, endEvent, startEvent, textEvent } from "@weir/dialect/events";
import { openaiChat } from "@weir/dialect/openai-chat/codec";
import { writeFrames } from "@weir/dialect/framing/writer";
import { StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { expect, test } from "vitest";
import { translated } from "./translated.ts";

const options = { id: "a", createTimeMs: 0, model: "m", includeUsage: true, request: {} };
const events = [
  startEvent({ id: "reply", model: "m" }),
  textEvent(0, 0, "hi"),
  endEvent([choiceEnd(0, StopReason.END, "stop")], undefined),
];
const writer = openaiChat.createFrameWriter(options);
const bytes = Buffer.from(
  writeFrames(
    "sse",
    events.flatMap((event) => writer.write(event)),
  ),
);

/** A client's dialect that cannot say one kind of event. */
function mute(kind: string): Codec {
  return {
    ...openaiChat,
    writeAnswer() {
      throw new Error("cannot be said");
    },
    createFrameWriter(settings) {
      const inner = openaiChat.createFrameWriter(settings);
      return {
        write(event) {
          if (event.kind.case === kind) throw new Error("cannot be said");
          return inner.write(event);
        },
      };
    },
  };
}

test.each(["delta", "end"])(
  "what cannot be said in the client's dialect is a fault, never a whole answer: %s",
  (kind) => {
    const stream = translated(openaiChat, { codec: mute(kind), options }).openStream();
    for (const byte of bytes) stream.push(Buffer.from([byte]));
    stream.end();
    expect(stream.facts).toMatchObject({ complete: false, fault: { kind: "malformed" } });
  },
);

test("nor is a whole answer that cannot be said", () => {
  const body = Buffer.from(openaiChat.writeAnswer(events, options));
  expect(translated(openaiChat, "canonical").readWhole(body)).toMatchObject({ kind: "answer", replyId: "reply" });
  expect(translated(openaiChat, { codec: mute("end"), options }).readWhole(body)).toEqual({ kind: "malformed" });
});
