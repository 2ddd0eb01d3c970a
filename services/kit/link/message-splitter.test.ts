import { Code } from "@connectrpc/connect";
import fc from "fast-check";
import { expect, test } from "vitest";
import { LinkFault } from "./fault.ts";
import { MessageSplitter, prefixBytes, writePrefix } from "./message-splitter.ts";

const runs = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 2000);

function framed(message: Uint8Array): Buffer {
  const bytes = Buffer.alloc(prefixBytes + message.length);
  writePrefix(bytes, message.length);
  bytes.set(message, prefixBytes);
  return bytes;
}

/** Cuts bytes at the places that are left when they are taken modulo the length. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const sorted = places.map((place) => place % (bytes.length + 1)).toSorted((a, b) => a - b);
  return [...sorted, bytes.length].map((end, index) => bytes.subarray(sorted[index - 1] ?? 0, end));
}

test("messages come out as they went in, wherever the bytes are cut", () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 }),
      fc.array(fc.nat(1000), { maxLength: 12 }),
      (messages, places) => {
        const found: Buffer[] = [];
        const splitter = new MessageSplitter(40, (message) => found.push(message));
        for (const chunk of cut(Buffer.concat(messages.map(framed)), places)) splitter.write(chunk);
        expect(found.map((message) => message.toString("hex"))).toEqual(
          messages.map((message) => Buffer.from(message).toString("hex")),
        );
      },
    ),
    { numRuns: runs },
  );
});

test("a message within one chunk is not copied; one across chunks does not keep them", () => {
  const found: Buffer[] = [];
  const splitter = new MessageSplitter(100, (message) => found.push(message));
  const chunk = Buffer.concat([framed(Buffer.alloc(50, 1)), framed(Buffer.alloc(50, 2)).subarray(0, 20)]);
  splitter.write(chunk);
  splitter.write(framed(Buffer.alloc(50, 2)).subarray(20));
  expect(found.map((message) => [message.length, message[0]])).toEqual([
    [50, 1],
    [50, 2],
  ]);
  expect(found[0]?.buffer).toBe(chunk.buffer);
  expect(found[1]?.buffer).not.toBe(chunk.buffer);
  expect(found[1]?.buffer.byteLength).toBe(50);
});

test.each<[string, number, Buffer, Code]>([
  ["too large", 100, Buffer.from([0, 0, 0, 0, 101]), Code.ResourceExhausted],
  ["as large as can be said", 100, Buffer.from([0, 255, 255, 255, 255]), Code.ResourceExhausted],
  ["compressed", 100, Buffer.from([1, 0, 0, 0, 1]), Code.Unimplemented],
])("a message that is %s is refused at its prefix, cut or whole", (_name, bytesMax, prefix, code) => {
  for (let at = 0; at < prefix.length; at += 1) {
    const splitter = new MessageSplitter(bytesMax, () => expect.unreachable());
    let thrown: unknown;
    try {
      splitter.write(prefix.subarray(0, at));
      splitter.write(prefix.subarray(at));
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(LinkFault);
    expect(thrown).toMatchObject({ code });
  }
});
