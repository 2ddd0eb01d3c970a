import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { reasonWord, WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import type { Names } from "../../files/kept-names.ts";
import { EventGate } from "./event-gate.ts";

/** A gate whose checks end when the test says so, and what came of its events. */
function setUp() {
  const passed: string[] = [];
  const refused: string[] = [];
  const asked: { readonly names: Names; readonly end: (error?: WeirError) => void }[] = [];
  let emptied = 0;
  const gate = new EventGate({
    check: (names) =>
      new Promise((resolve, reject) => {
        asked.push({ names, end: (error) => (error === undefined ? resolve() : reject(error)) });
      }),
    pass: (event) => void passed.push(event.toString()),
    refuse: (error, event) => void refused.push(`${reasonWord(error.reason)} ${event.toString()}`),
    onEmpty: () => (emptied += 1),
  });
  return { gate, passed, refused, asked, emptied: () => emptied };
}

const plain = (n: number) => `{"type":"plain","n":${n}}`;
const naming = (id: string) => `{"type":"session.update","vector_store_ids":["${id}"]}`;
const push = (gate: EventGate, ...events: string[]) => {
  for (const event of events) gate.push(Buffer.from(event));
};

test("events that name nothing pass at once, each as it came", () => {
  const { gate, passed, asked } = setUp();
  push(gate, plain(1), plain(2));
  expect([passed, asked.length, gate.waitingBytes]).toEqual([[plain(1), plain(2)], 0, 0]);
});

test("one that names something holds those behind it up, and their order stays, whether it passes or not", async () => {
  const { gate, passed, refused, asked, emptied } = setUp();
  push(gate, plain(1), naming("a"), plain(2), naming("b"), plain(3));
  expect(passed).toEqual([plain(1)]);
  expect(gate.waitingBytes).toBe([naming("a"), plain(2), naming("b"), plain(3)].join("").length);
  asked[0]?.end();
  await expect.poll(() => asked.length).toBe(2);
  expect(passed).toEqual([plain(1), naming("a"), plain(2)]);
  asked[1]?.end(new WeirError(ErrorReason.NOT_FOUND));
  await expect.poll(emptied).toBe(1);
  expect(passed).toEqual([plain(1), naming("a"), plain(2), plain(3)]);
  expect([refused, gate.waitingBytes]).toEqual([[`NOT_FOUND ${naming("b")}`], 0]);
  expect(asked.map(({ names }) => names.ids)).toEqual([["a"], ["b"]]);
});

test("one that is no JSON, too deep, or has a member twice is refused without being asked about", async () => {
  const { gate, passed, refused, asked } = setUp();
  const deep = `{"file_id":"a","d":${"[".repeat(100_000)}${"]".repeat(100_000)}}`;
  push(gate, '{"file_id":', '{"file_id":"a","file_id":"b"}', deep);
  await expect.poll(() => refused.length).toBe(3);
  expect(refused.map((text) => text.split(" ", 1)[0])).toEqual([
    "INVALID_REQUEST",
    "INVALID_REQUEST",
    "INVALID_REQUEST",
  ]);
  expect([passed, asked.length]).toEqual([[], 0]);
});

test("nothing passes once it is closed", async () => {
  const { gate, passed, refused, asked, emptied } = setUp();
  push(gate, naming("a"), plain(1));
  gate.close();
  asked[0]?.end();
  await expect.poll(emptied).toBe(1);
  expect([passed, refused, gate.waitingBytes]).toEqual([[], [], 0]);
});
