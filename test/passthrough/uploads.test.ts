import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Gateway, startGateway } from "./gateway.ts";

// Uploads before a provider that takes its time.

const fileBytes = 256 * 1024 * 1024;
/** What systems hold of a connection on its way, over three of them, and what the gateway itself may hold. */
const heldBytesMax = 64 * 1024 * 1024;

let gateway: Gateway;
const sockets: Socket[] = [];
/** A provider that accepts connections, and reads only when it is told to. */
const provider = createServer((socket) => {
  socket.pause();
  socket.on("error", () => undefined);
  sockets.push(socket);
});
beforeAll(async () => {
  provider.listen(0, "127.0.0.1");
  await once(provider, "listening");
  const { port } = provider.address() as AddressInfo;
  // Only the client's own pauses count; the provider's are longer here.
  gateway = await startGateway({ elsewhere: `http://127.0.0.1:${port}/v1`, settings: { bodyStallMs: 500 } });
});
afterAll(async () => {
  for (const socket of sockets) socket.destroy();
  provider.close();
  await gateway.close();
});

const field = (name: string, value: string) =>
  `--B\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;
const fileHead = '--B\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n';
const tail = "\r\n--B--\r\n";

test("a provider that does not read holds its client back; what is on its way is bounded", async () => {
  const head = field("model", "elsewhere") + fileHead;
  const client = connect({ host: "127.0.0.1", port: gateway.port });
  client.on("error", () => undefined);
  client.write(
    [
      "POST /v1/audio/transcriptions HTTP/1.1",
      "Host: edge",
      `Authorization: Bearer ${gateway.key}`,
      "Content-Type: multipart/form-data; boundary=B",
      `Content-Length: ${head.length + fileBytes + tail.length}`,
      "",
      head,
    ].join("\r\n"),
  );
  const chunk = Buffer.alloc(1024 * 1024, "x");
  let sent = 0;
  let movedMs = performance.now();
  const send = (): void => {
    movedMs = performance.now();
    if (sent >= fileBytes) return;
    sent += chunk.length;
    client.write(chunk, send);
  };
  send();
  while (performance.now() - movedMs < 1_000) await new Promise((resolve) => setTimeout(resolve, 20));
  expect(sent).toBeGreaterThan(1024 * 1024);
  expect(sent).toBeLessThan(heldBytesMax);
  expect(gateway.pool.status().openAttempts).toBe(1);

  // When it reads again, the upload goes on.
  const before = sent;
  let receivedBytes = 0;
  for (const socket of sockets) socket.on("data", (bytes) => (receivedBytes += bytes.length)).resume();
  while (receivedBytes < before + heldBytesMax) await new Promise((resolve) => setTimeout(resolve, 20));
  expect(sent).toBeGreaterThan(before);
  client.destroy();
  while (gateway.pool.status().openAttempts > 0) await new Promise((resolve) => setTimeout(resolve, 20));
  expect(gateway.events).toMatchObject([{ outcome: AttemptOutcome.CANCELLED }]);
});

test.each([
  ["before the model has come", fileHead],
  ["after it", field("model", "elsewhere") + fileHead],
])("a client that stops in the middle, %s, is told so, and its call ends", async (_when, start) => {
  const client = connect({ host: "127.0.0.1", port: gateway.port });
  let answer = "";
  client.on("data", (bytes) => (answer += bytes.toString()));
  client.on("error", () => undefined);
  const lines = [
    "POST /v1/audio/transcriptions HTTP/1.1",
    "Host: edge",
    `Authorization: Bearer ${gateway.key}`,
    "Content-Type: multipart/form-data; boundary=B",
    "Content-Length: 100000",
    "",
    start,
  ];
  client.write(lines.join("\r\n"));
  await once(client, "close");
  expect(answer).toMatch(/^HTTP\/1.1 408 /);
  while (gateway.pool.status().openAttempts > 0) await new Promise((resolve) => setTimeout(resolve, 20));
});
