import { copyFileSync } from "node:fs";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import { AttemptService } from "@weir/gen/weir/routing/v1/attempt_service_pb";
import { createClient } from "@weir/kit/client";
import { type Clock, systemClock } from "@weir/kit/clock";
import { createGrpcDoor } from "@weir/kit/grpc/client";
import type { TlsOptions } from "@weir/kit/grpc/credentials";
import { silentLog } from "@weir/kit/log";
import { createMesh, type Mesh } from "@weir/kit/mesh";
import { reasonWord, WeirError } from "@weir/kit/weir-error";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { readTls, watchTls } from "weir/tls-files";
import { createManualClock } from "@weir/edge/testing/manual-clock";
import { type Certificates, createCertificates } from "./certificates.ts";

const domain = "weir.test";
let made: Certificates;
const open: (() => unknown)[] = [];

beforeAll(() => {
  made = createCertificates(domain);
  made.authority("ca");
  made.authority("other-ca");
  const of = (service: string) => `URI:spiffe://${domain}/${service},IP:127.0.0.1`;
  for (const service of ["edge", "router", "pool", "metering", "operator"])
    made.certificate(service, "ca", of(service));
  made.certificate("router-renewed", "ca", of("router"));
  made.certificate("edge-renewed", "ca", of("edge"));
  made.certificate("expired", "ca", of("edge"), 0);
  made.certificate("foreign", "ca", "URI:spiffe://other.test/edge,IP:127.0.0.1");
  made.certificate("forged", "other-ca", of("edge"));
  made.certificate("nameless", "ca", "DNS:edge,DNS:router");
}, 60_000);

afterAll(() => made.remove());

afterEach(async () => {
  for (const close of open.splice(0).toReversed()) await close();
});

const tlsOf = (name: string, authority = "ca") => readTls(made.files(`once-${name}`, name, authority));

/** A router, which also holds what only pools hold, so that one address tells all methods apart. */
async function startRouter(tls: TlsOptions): Promise<{ address: string; mesh: Mesh }> {
  const mesh = createMesh({ name: "router", listen: "127.0.0.1:0", tls });
  open.push(() => mesh.close());
  mesh.host("router", RouteService, { listRoutes: () => ({}) });
  mesh.host("router", AttemptService, { countTargetTokens: () => ({}) });
  await mesh.start();
  return { address: mesh.status().address ?? "", mesh };
}

/** What becomes of a call for edges, and of one for routers, over a link and over plain gRPC. */
async function outcomes(address: string, tls: TlsOptions | undefined) {
  const mesh = createMesh({ name: "caller", tls, peers: { router: [address] }, connectWaitMs: 1_000 });
  open.push(() => mesh.close());
  const clients = {
    routes: mesh.client(RouteService, "router"),
    attempts: mesh.client(AttemptService, "router"),
  };
  await mesh.start();
  const door = createGrpcDoor({ address, tls });
  open.push(() => door.close());
  const plain = { routes: createClient(RouteService, door), attempts: createClient(AttemptService, door) };
  const outcome = async (call: Promise<unknown>) => {
    try {
      await call;
      return "let in";
    } catch (thrown) {
      // Requests are checked after their callers.
      if (!(thrown instanceof WeirError)) return "other";
      return thrown.reason === ErrorReason.INVALID_REQUEST ? "let in" : reasonWord(thrown.reason);
    }
  };
  return {
    link: {
      edge: await outcome(clients.routes.listRoutes({}, { timeoutMs: 3_000 })),
      router: await outcome(clients.attempts.countTargetTokens({}, { timeoutMs: 3_000 })),
    },
    plain: {
      edge: await outcome(plain.routes.listRoutes({}, { timeoutMs: 3_000 })),
      router: await outcome(plain.attempts.countTargetTokens({}, { timeoutMs: 3_000 })),
    },
  };
}

test.each([
  ["edge", "let in", "FORBIDDEN"],
  ["operator", "let in", "FORBIDDEN"],
  ["router", "FORBIDDEN", "let in"],
  ["pool", "FORBIDDEN", "FORBIDDEN"],
  ["metering", "FORBIDDEN", "FORBIDDEN"],
])("the right domain: %s may call what is for it, and nothing else", async (name, edge, router) => {
  const { address } = await startRouter(tlsOf("router"));
  const { link, plain } = await outcomes(address, tlsOf(name));
  expect([link.edge, link.router]).toEqual([edge, router]);
  expect([plain.edge, plain.router]).toEqual([edge, router]);
});

test.each(["foreign", "forged", "expired", "nameless"])("a certificate that is %s may call nothing", async (name) => {
  const { address, mesh } = await startRouter(tlsOf("router"));
  const { link, plain } = await outcomes(address, tlsOf(name));
  expect([link.edge, link.router]).not.toContain("let in");
  expect([plain.edge, plain.router]).not.toContain("let in");
  expect(mesh.status().served.links).toBe(0);
});

test("without a certificate, and without TLS, nothing is called", async () => {
  const { address, mesh } = await startRouter(tlsOf("router"));
  const { link, plain } = await outcomes(address, undefined);
  expect([link.edge, link.router, plain.edge, plain.router]).not.toContain("let in");
  expect(mesh.status().served.links).toBe(0);
});

test.each(["pool", "foreign", "forged", "expired"])("a server whose certificate is %s is no router", async (name) => {
  const { address } = await startRouter(tlsOf(name));
  const { link } = await outcomes(address, tlsOf("edge"));
  expect([link.edge, link.router]).not.toContain("let in");
});

test("certificates are replaced under load without a failed call, and files that do not fit hold nothing up", async () => {
  const clock = createManualClock();
  const ticking: Clock = { ...systemClock, after: (delayMs, call) => clock.after(delayMs, call) };
  const watch = (process: string, certificate: string) => {
    const watched = watchTls(made.files(process, certificate, "ca"), { clock: ticking, log: silentLog });
    open.push(() => watched.close());
    return watched.tls;
  };
  const server = watch("router", "router");
  const client = watch("edge", "edge");
  const { address } = await startRouter(server);
  let calls = 0;
  /** Each on a link of its own, so that every call is a new handshake. */
  const call = async () => {
    const mesh = createMesh({ name: "edge", tls: client, peers: { router: [address] }, connectWaitMs: 5_000 });
    const routes = mesh.client(RouteService, "router");
    await mesh.start();
    await routes.listRoutes({}, { timeoutMs: 5_000 });
    await mesh.close();
    calls += 1;
  };
  const standing = createMesh({ name: "edge", tls: client, peers: { router: [address] } });
  open.push(() => standing.close());
  const routes = standing.client(RouteService, "router");
  await standing.start();
  let stopped = false;
  const load = Array.from({ length: 4 }, async () => {
    while (!stopped) await call();
  });
  const before = server.cert;
  for (const [certificate, mine] of [
    ["router-renewed", "edge-renewed"],
    ["router", "edge"],
    ["router-renewed", "edge-renewed"],
  ] as const) {
    const from = calls;
    made.replace("router", certificate, "ca");
    made.replace("edge", mine, "ca");
    clock.advance(5_000);
    await routes.listRoutes({});
    await expect.poll(() => calls).toBeGreaterThan(from + 8);
  }
  expect(server.cert.equals(before)).toBe(false);
  const whole = server.cert;
  made.replace("router", "router", "ca");
  const { keyPath } = made.files("other", "pool", "ca");
  const { keyPath: own } = made.files("router", "router", "ca");
  copyFileSync(keyPath, own);
  clock.advance(5_000);
  expect(server.cert.equals(whole)).toBe(true);
  const from = calls;
  await expect.poll(() => calls).toBeGreaterThan(from + 4);
  stopped = true;
  await Promise.all(load);
}, 40_000);
