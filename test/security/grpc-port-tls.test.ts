import { connect as connectHttp2, type SecureClientSessionOptions } from "node:http2";
import { get } from "node:https";
import { startEdge, stopEdges } from "@weir/edge/testing/harness";
import type { ServerTlsOptions } from "@weir/kit/grpc/credentials";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { readTls } from "weir/tls-files";
import { type Certificates, createCertificates } from "./certificates.ts";

// TLS at the edge's gRPC port, which other people's clients use.

let made: Certificates;

beforeAll(() => {
  made = createCertificates("weir.test");
  made.authority("ca");
  made.authority("other-ca");
  made.certificate("edge", "ca", "DNS:edge.test,IP:127.0.0.1");
  made.certificate("client", "ca", "DNS:client.test");
  made.certificate("forged", "other-ca", "DNS:client.test");
}, 60_000);

afterAll(() => made.remove());
afterEach(stopEdges);

const materialOf = (name: string, authority = "ca") => {
  const { ca, cert, key } = readTls(made.files(name, name, authority));
  return { ca, cert, key };
};

/** @param asksCallers whether callers need a certificate of the authority */
async function listen(asksCallers: boolean): Promise<string> {
  const { edge } = await startEdge({ settings: { connectionsPerAddressMax: 1 } });
  const { ca, ...shown } = materialOf("edge");
  const tls: ServerTlsOptions = asksCallers ? { ...shown, ca } : shown;
  return edge.listenGrpc("127.0.0.1:0", tls);
}

/** The status of a health check over a connection of its own; `cut` when it does not come that far. */
function check(address: string, options?: SecureClientSessionOptions): Promise<string> {
  return new Promise((resolve) => {
    const session = connectHttp2(`${options === undefined ? "http" : "https"}://${address}`, options);
    let status = "cut";
    session.on("error", () => undefined);
    const stream = session.request({
      ":method": "POST",
      ":path": "/grpc.health.v1.Health/Check",
      "content-type": "application/grpc",
      te: "trailers",
    });
    stream.on("trailers", (trailers) => {
      status = String(trailers["grpc-status"]);
    });
    stream.on("error", () => undefined);
    stream.on("close", () => {
      session.destroy();
      resolve(status);
    });
    stream.resume();
    stream.end(Buffer.alloc(5));
  });
}

test("a client that trusts the authority is served, one connection after the other", async () => {
  const address = await listen(false);
  const { ca } = materialOf("client");
  for (let count = 0; count < 3; count += 1) {
    // The edge hears of the end of a connection a moment after its client.
    await expect.poll(() => check(address, { ca })).toBe("0");
  }
});

test("a client that trusts another authority, and one without TLS, are not served", async () => {
  const address = await listen(false);
  expect(await check(address, { ca: materialOf("client", "other-ca").ca })).toBe("cut");
  await expect.poll(() => check(address)).toBe("cut");
  await expect.poll(() => check(address, { ca: materialOf("client").ca })).toBe("0");
});

test("where callers need a certificate, only one of the authority lets them in", async () => {
  const address = await listen(true);
  const { ca } = materialOf("client");
  expect(await check(address, { ca })).toBe("cut");
  await expect.poll(() => check(address, { ...materialOf("forged"), ca })).toBe("cut");
  await expect.poll(() => check(address, materialOf("client"))).toBe("0");
});

test("a client that speaks TLS and not HTTP/2 is cut", async () => {
  const address = await listen(false);
  const { ca } = materialOf("client");
  await expect(fetchOverHttp1(address, ca)).rejects.toThrow("socket hang up");
  await expect.poll(() => check(address, { ca })).toBe("0");
});

function fetchOverHttp1(address: string, ca: Buffer): Promise<unknown> {
  return new Promise((resolve, reject) => {
    get(`https://${address}/`, { ca, agent: false }, resolve).on("error", reject);
  });
}
