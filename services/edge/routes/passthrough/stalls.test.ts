import { connect, type Socket } from "node:net";
import { create } from "@bufbuild/protobuf";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { AnswerEndSchema, AnswerHeadSchema } from "@weir/gen/weir/passthrough/v1/forward_pb";
import type { ForwardResponse } from "@weir/gen/weir/passthrough/v1/passthrough_service_pb";
import { streamOf } from "@weir/kit/reply-stream";
import { afterEach, expect, test, vi } from "vitest";
import { createAlarms } from "../../alarms.ts";
import type { Exchange } from "../../http/exchange.ts";
import { createHttpServer } from "../../http/server.ts";
import { createManualClock } from "../../testing/manual-clock.ts";
import { relay } from "./answer.ts";
import { MultipartBody } from "./multipart-body.ts";

// Answers that begin before the upload has ended, to clients that do not read them.

const pieceBytes = 16 * 1024 * 1024;
const message = (payload: ForwardResponse["payload"]): ForwardResponse => ({
  $typeName: "weir.passthrough.v1.ForwardResponse",
  payload,
});
const head = message({ case: "head", value: create(AnswerHeadSchema, { status: 200, contentType: "audio/wav" }) });
const piece = message({ case: "data", value: new Uint8Array(pieceBytes) });
const end = message({ case: "end", value: create(AnswerEndSchema, {}) });

const until = <T>(found: () => T) => vi.waitUntil(found, { timeout: 10_000, interval: 10 });

const closers: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** A server for one upload, whose answer is a piece that no system holds whole, and then an end when `mayEnd` resolves. */
async function start(limits: { readonly writeStallMs: number; readonly bodyStallMs: number }) {
  const clock = createManualClock();
  const alarms = createAlarms(clock);
  let exchange: Exchange | undefined;
  let receivedBytes = 0;
  let readFailure: unknown;
  let letEnd = (): void => undefined;
  const mayEnd = new Promise<void>((resolve) => {
    letEnd = resolve;
  });
  async function* answer() {
    // More of the body is waited for by then.
    await until(() => receivedBytes > 0);
    yield head;
    yield piece;
    await mayEnd;
    yield end;
  }
  async function read(body: MultipartBody): Promise<void> {
    for await (const item of body.items()) receivedBytes += item.length;
  }
  const server = createHttpServer({
    clock,
    alarms,
    newRequestId: () => "req_1",
    writeStallMs: () => limits.writeStallMs,
    connectionsPerSourceMax: () => 10,
    handler: {
      async handle(opened) {
        exchange = opened;
        const { bodyStallMs: stallMs } = limits;
        read(new MultipartBody(opened, { bytesMax: 1e9, stallMs, bytesPerSecondMin: 0.001 })).catch(
          (thrown: unknown) => (readFailure = thrown),
        );
        await relay(opened, streamOf(answer()), 15_000);
      },
      appendHeaders: () => undefined,
      closed: () => undefined,
      refused: () => undefined,
    },
  });
  const { port } = await server.listen({ host: "127.0.0.1", port: 0 });
  const client: Socket = connect({ host: "127.0.0.1", port });
  client.pause();
  client.on("error", () => undefined);
  closers.push(
    () => alarms.close(),
    () => server.close(),
    () => void client.destroy(),
  );
  client.write(
    "POST / HTTP/1.1\r\nHost: edge\r\nContent-Type: multipart/form-data; boundary=B\r\nContent-Length: 1000\r\n\r\n" +
      '--B\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n',
  );
  const stalled = await until(() => (exchange?.isStalled === true ? exchange : undefined));
  return {
    clock,
    client,
    exchange: stalled,
    letEnd,
    received: () => receivedBytes,
    readFailure: () => readFailure,
  };
}

test("a client that sends on and does not read its answer is cut when it has not read for too long", async () => {
  const { clock, client, exchange, received } = await start({ writeStallMs: 1_000, bodyStallMs: 60_000 });
  for (let round = 0; round < 20 && !exchange.isClosed; round++) {
    const before = received();
    // Longer than a delimiter, so that it is handed on.
    client.write("x".repeat(16));
    await until(() => received() > before || exchange.isClosed);
    clock.advance(500);
  }
  await until(() => exchange.isClosed);
});

test("a client that stops sending is told so while its answer waits to be read", async () => {
  const { clock, exchange, readFailure } = await start({ writeStallMs: 60_000, bodyStallMs: 1_000 });
  clock.advance(1_200);
  await until(() => readFailure() !== undefined);
  expect(readFailure()).toMatchObject({ reason: ErrorReason.REQUEST_TIMEOUT });
  expect(exchange.isClosed).toBe(false);
});

test("a client that was slow once is not cut when its provider pauses", async () => {
  const { clock, client, exchange, letEnd } = await start({ writeStallMs: 1_000, bodyStallMs: 60_000 });
  let text = "";
  let bytes = 0;
  client.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    text = chunk.subarray(-16).toString("latin1");
  });
  client.resume();
  await until(() => bytes > pieceBytes && !exchange.isStalled);
  clock.advance(30_000);
  expect(exchange.isClosed).toBe(false);
  letEnd();
  await until(() => text.endsWith("0\r\n\r\n"));
});
