import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ChatService } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { createClient } from "../client.ts";
import { createGrpcDoor } from "../grpc/client.ts";
import type { TlsOptions } from "../grpc/credentials.ts";
import type { PeerEvent } from "../link/peers.ts";
import { call, cleanUp, cleanups, serve, type Server } from "./network.ts";
import { all, failure } from "./ways.ts";

// Callers and servers of the mesh, and who they are to each other.
afterEach(cleanUp);

const elliptic = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
let folder = "";
const openssl = (...args: string[]): void => {
  execFileSync("openssl", args, { cwd: folder, stdio: "ignore" });
};
const authority = (name: string): void => {
  const out = ["-keyout", `${name}.key`, "-out", `${name}.crt`];
  openssl("req", "-x509", ...elliptic, "-days", "2", "-subj", `/CN=${name}`, ...out);
};
const certificate = (name: string, issuer: string, names: string): void => {
  openssl("req", ...elliptic, "-subj", `/CN=${name}`, "-keyout", `${name}.key`, "-out", `${name}.csr`);
  writeFileSync(join(folder, `${name}.ext`), `subjectAltName=${names}`);
  const from = ["-CA", `${issuer}.crt`, "-CAkey", `${issuer}.key`, "-CAcreateserial", "-extfile", `${name}.ext`];
  openssl("x509", "-req", "-in", `${name}.csr`, ...from, "-days", "2", "-out", `${name}.crt`);
};
const tls = (name: string, ca = "ca"): TlsOptions => ({
  ca: readFileSync(join(folder, `${ca}.crt`)),
  cert: readFileSync(join(folder, `${name}.crt`)),
  key: readFileSync(join(folder, `${name}.key`)),
  serverName: "router",
});

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "weir-tls-"));
  authority("ca");
  authority("other-ca");
  certificate("router", "ca", "DNS:router,IP:127.0.0.1");
  certificate("edge", "ca", "DNS:edge,URI:spiffe://weir/edge");
  certificate("stranger", "ca", "DNS:stranger");
  certificate("forged", "other-ca", "DNS:edge");
});
afterAll(() => rmSync(folder, { recursive: true }));

const start = (): Promise<Server> =>
  serve("router", { tls: { ...tls("router"), callers: ["spiffe://weir/edge", "router"] } });

test("the right certificate: link and plain gRPC", async () => {
  const server = await start();
  const { routes } = await call([server.address], { tls: tls("edge") });
  expect((await routes.getRoute({ name: "routes/a" })).route?.alias).toBe("router");
  const door = createGrpcDoor({ address: server.address, tls: tls("edge") });
  cleanups.push(() => door.close());
  expect((await createClient(RouteService, door).getRoute({ name: "routes/a" })).route?.alias).toBe("router");
});

test("a server is known by its address when no name is given", async () => {
  const server = await start();
  const { routes } = await call([server.address], { tls: { ...tls("edge"), serverName: undefined } });
  expect((await routes.getRoute({ name: "routes/a" })).route?.alias).toBe("router");
  const door = createGrpcDoor({ address: server.address, tls: { ...tls("edge"), serverName: undefined } });
  cleanups.push(() => door.close());
  expect((await createClient(RouteService, door).getRoute({ name: "routes/a" })).route?.alias).toBe("router");
  // The router's certificate has this address, the edge's has none.
  const other = await serve("edge", { tls: tls("edge") });
  expect(await refused(other.address, { ...tls("edge"), serverName: undefined })).toMatch(/IP|certificate/);
});

const refused = async (address: string, callerTls: TlsOptions | undefined): Promise<string> => {
  const events: PeerEvent[] = [];
  const { routes, mesh } = await call([address], {
    tls: callerTls,
    connectWaitMs: 500,
    onPeer: (event) => events.push(event),
  });
  expect(await failure(routes.getRoute({ name: "routes/a" }))).toMatchObject({
    reason: ErrorReason.OVERLOADED,
    retryAfterMs: 1000,
  });
  expect(events.some(({ kind }) => kind === "ready")).toBe(false);
  return mesh.status().peers["router"]?.[0]?.lastError ?? "";
};

test("a certificate of the right authority with a name that may not call", async () => {
  const server = await start();
  expect(await refused(server.address, tls("stranger"))).toContain("names no peer that may call");
  const door = createGrpcDoor({ address: server.address, tls: tls("stranger") });
  cleanups.push(() => door.close());
  const error = await failure(createClient(RouteService, door).getRoute({ name: "routes/a" }));
  expect(error).toMatchObject({ reason: ErrorReason.API_KEY_INVALID });
  const streaming = await failure(all(createClient(ChatService, door).generate({ model: "m" })));
  expect(streaming).toMatchObject({ reason: ErrorReason.API_KEY_INVALID });
});

test("a certificate of another authority, none at all, and no TLS", async () => {
  const server = await start();
  expect(await refused(server.address, { ...tls("forged"), ca: tls("edge").ca })).not.toBe("");
  expect(await refused(server.address, undefined)).not.toBe("");
  expect(server.mesh.status().served.links).toBe(0);
});

test("a server that is not who it should be", async () => {
  const server = await start();
  expect(await refused(server.address, { ...tls("edge"), serverName: "metering" })).toMatch(/altname|certificate/i);
  expect(await refused(server.address, { ...tls("edge"), ca: tls("edge", "other-ca").ca })).toMatch(
    /certificate|verify/i,
  );
});
