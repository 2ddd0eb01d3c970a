import { afterEach, expect, test } from "vitest";
import {
  event,
  eventHead,
  eventually,
  hello,
  openRaw,
  rawPost,
  startEdge,
  stopEdges,
  untilCancelled,
  wire,
} from "./testing/harness.ts";
import { isServing, sendRaw, statusesOf } from "./testing/raw-answers.ts";

// What node:http gives a connection away for. An error that nobody catches would end the process, and fails the run here.

afterEach(stopEdges);

const upgrade = "Host: edge\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n";
const tunnel = "CONNECT host:443 HTTP/1.1\r\nHost: host\r\n\r\n";

test("a request for WebSocket behind a request under way is answered in its turn", async () => {
  const edge = await startEdge();
  const socket = `GET /v1/chat/ws HTTP/1.1\r\nAuthorization: Bearer ${edge.key}\r\n${upgrade}\r\n`;
  expect(statusesOf(await sendRaw(edge.port, rawPost(edge.key, JSON.stringify(hello)) + socket))).toEqual([200, 400]);
  expect(await isServing(edge)).toBe(true);
});

test("a request for WebSocket with a body is answered as if it had not asked", async () => {
  const edge = await startEdge();
  for (const body of ["Content-Length: 2", "Transfer-Encoding: chunked"]) {
    expect(statusesOf(await sendRaw(edge.port, `POST /v1/models HTTP/1.1\r\n${body}\r\n${upgrade}\r\n`))).toEqual([
      405,
    ]);
  }
  expect(await isServing(edge)).toBe(true);
});

test("a request for a tunnel behind a request under way cuts both, whose call is cancelled", async () => {
  const edge = await startEdge({
    async *chat({ signal }) {
      yield wire({ head: eventHead, data: event("1") });
      await untilCancelled(signal);
    },
  });
  const raw = await openRaw(edge.port);
  raw.socket.write(rawPost(edge.key, JSON.stringify({ ...hello, stream: true })));
  await raw.until(/data: 1/);
  raw.socket.write(tunnel);
  expect(statusesOf(await raw.whole())).toEqual([200]);
  await eventually(() => edge.calls[0]?.signal.aborted === true);
});

test("a client that asks for a tunnel and resets its connection harms nobody", async () => {
  const edge = await startEdge();
  const raw = await openRaw(edge.port);
  raw.socket.write(tunnel);
  await raw.until(/HTTP\/1\.1 405/);
  raw.socket.resetAndDestroy();
  await eventually(() => raw.ended() !== undefined);
  expect(await isServing(edge)).toBe(true);
});
