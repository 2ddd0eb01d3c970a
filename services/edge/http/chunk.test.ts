import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import fc from "fast-check";
import { expect, test } from "vitest";
import { encodeChunk } from "./chunk.ts";

test("a chunk is its length, its data, and at the end the empty chunk", () => {
  expect(encodeChunk("hello").toString()).toBe("5\r\nhello\r\n");
  expect(encodeChunk(Buffer.alloc(26, 0x2e), true).toString()).toBe(`1a\r\n${".".repeat(26)}\r\n0\r\n\r\n`);
  expect(encodeChunk("\u00e9").toString()).toBe("2\r\n\u00e9\r\n");
  expect(encodeChunk("", true).toString()).toBe("0\r\n\r\n");
});

test("a client reads the bytes that were put into chunks", async () => {
  let answer: (response: ServerResponse) => void = () => undefined;
  const server = createServer((_: IncomingMessage, response) => answer(response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const body = () =>
    new Promise<Buffer>((resolve, reject) => {
      request({ port, host: "127.0.0.1" }, (response) => {
        const parts: Buffer[] = [];
        response.on("data", (part: Buffer) => parts.push(part));
        response.on("end", () => resolve(Buffer.concat(parts)));
        response.on("error", reject);
      }).end();
    });
  const piece = fc.oneof(
    fc.string({ unit: "binary", minLength: 1 }),
    fc.uint8Array({ minLength: 1, maxLength: 5_000 }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(piece), async (pieces) => {
      answer = (response) => {
        response.writeHead(200);
        response.chunkedEncoding = false;
        for (const each of pieces) response.write(encodeChunk(each));
        response.end(encodeChunk("", true));
      };
      expect((await body()).equals(Buffer.concat(pieces.map((each) => Buffer.from(each as Uint8Array))))).toBe(true);
    }),
    { numRuns: Math.min(100, Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000)) },
  );
  await new Promise((resolve) => server.close(resolve));
});
