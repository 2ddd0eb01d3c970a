import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, test } from "vitest";
import { waitUntilKnown, waitUntilReady } from "./readiness.ts";

const never = new AbortController().signal;
const key = { kind: "created", text: "weir_a_b_c" } as const;
let server: Server | undefined;

afterEach(async () => {
  server?.close();
  if (server?.listening) await once(server, "close");
});

/** An edge that answers with these statuses, and then with the last of them. @returns its URL, and the paths it was asked */
async function answering(...statuses: number[]) {
  const asked: string[] = [];
  server = createServer((request, response) => {
    asked.push(`${request.url} ${request.headers.authorization ?? ""}`.trim());
    response.writeHead((statuses.length > 1 ? statuses.shift() : statuses[0]) ?? 500).end("{}");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

test("an edge is ready when it says so, and not when it only answers", async () => {
  const { url, asked } = await answering(503, 503, 200);
  await waitUntilReady(url, never);
  expect(asked).toEqual(Array(3).fill("/health/ready"));
});

test("what will never be ready is told as what it is", async () => {
  const { url } = await answering(503);
  await expect(waitUntilReady(url, never, () => "the pool does not start")).rejects.toThrow("the pool does not start");
  await expect(waitUntilReady(url, AbortSignal.abort())).rejects.toThrow("given up");
});

test("a new key is known when a call with it is answered; of any other nothing is asked", async () => {
  const { url, asked } = await answering(401, 503, 200);
  await waitUntilKnown(url, key, never);
  expect(asked).toEqual(Array(3).fill("/v1/models Bearer weir_a_b_c"));
  await waitUntilKnown(url, { ...key, kind: "kept" }, never);
  expect(asked).toHaveLength(3);
});
