import { expect, test } from "vitest";
import { encode } from "../codec.ts";
import { ByteWriter } from "../byte-writer.ts";
import { TargetSchema } from "@weir/gen/weir/routing/v1/target_pb";
import { Outbox, OutgoingCall, partBytes, type Sender } from "./outbox.ts";

/** A stream that takes what it is told to take. */
function openOutbox() {
  const written: Buffer[] = [];
  const stream = { takes: true };
  const outbox = new Outbox({
    write: (message) => {
      written.push(message);
      return stream.takes;
    },
  });
  return { written, stream, outbox };
}

const turn = () => new Promise(setImmediate);

function message(bytes: number): ByteWriter {
  return encode(TargetSchema, { model: "x".repeat(bytes) }, new ByteWriter());
}

/** Notes what a call is told. */
function sender(): Sender & { readonly told: string[] } {
  const told: string[] = [];
  return { told, writable: () => void told.push("writable"), emptied: () => void told.push("emptied") };
}

test("what becomes ready in one turn leaves in one message", async () => {
  const { written, outbox } = openOutbox();
  for (let id = 1; id <= 5; id += 1) outbox.send(new OutgoingCall(id, 1000), message(10));
  expect(written).toHaveLength(0);
  await turn();
  expect(written).toHaveLength(1);
});

test("while the stream takes no more, one message gathers", async () => {
  const { written, stream, outbox } = openOutbox();
  stream.takes = false;
  const call = new OutgoingCall(1, Number.POSITIVE_INFINITY);
  outbox.send(call, message(10));
  await turn();
  for (let index = 0; index < 5; index += 1) {
    outbox.send(call, message(10));
    await turn();
  }
  expect(written).toHaveLength(1);
  stream.takes = true;
  outbox.drained();
  await turn();
  expect(written).toHaveLength(2);
});

test("a large message leaves in parts, and its sender is told when the last one has left", async () => {
  const { written, outbox } = openOutbox();
  const from = sender();
  const call = new OutgoingCall(1, Number.POSITIVE_INFINITY, from);
  expect(outbox.send(call, message(10 * partBytes))).toBe(false);
  expect(outbox.waitingBytes).toBeGreaterThan(10 * partBytes);
  while (outbox.waitingBytes > 0) {
    expect(from.told).toEqual([]);
    await turn();
  }
  expect(from.told).toEqual(["emptied", "writable"]);
  expect(written.length).toBeGreaterThan(1);
});

test("a call without credit waits for it; another call does not", async () => {
  const { written, outbox } = openOutbox();
  const from = sender();
  const poor = new OutgoingCall(1, 0, from);
  expect(outbox.send(poor, message(10))).toBe(false);
  await turn();
  expect(written).toHaveLength(0);
  expect(outbox.send(new OutgoingCall(2, 1000), message(10))).toBe(true);
  await turn();
  expect(written).toHaveLength(1);
  outbox.grant(poor, 1000);
  await turn();
  expect(written).toHaveLength(2);
  expect(from.told).toEqual(["emptied", "writable"]);
});

test("what a dropped call had to send does not leave", async () => {
  const { written, outbox } = openOutbox();
  const from = sender();
  const call = new OutgoingCall(1, Number.POSITIVE_INFINITY, from);
  outbox.send(call, message(10 * partBytes));
  outbox.drop(call);
  expect(outbox.waitingBytes).toBe(0);
  await turn();
  await turn();
  expect(written).toHaveLength(0);
  expect(from.told).toEqual([]);
});

test("it finishes once, after all that was said; nothing leaves after that", async () => {
  const { written, stream, outbox } = openOutbox();
  let finished = 0;
  stream.takes = false;
  outbox.send(new OutgoingCall(1, 1000), message(10));
  outbox.finish(() => (finished += 1));
  await turn();
  await turn();
  expect([written.length, finished]).toEqual([1, 0]);
  stream.takes = true;
  outbox.drained();
  await turn();
  expect([written.length, finished]).toEqual([1, 1]);
  outbox.send(new OutgoingCall(2, 1000), message(10));
  outbox.drained();
  await turn();
  await turn();
  expect([written.length, finished]).toEqual([1, 1]);
});
