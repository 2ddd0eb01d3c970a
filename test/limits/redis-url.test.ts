import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { systemClock } from "@weir/kit/clock";
import { createSharedStore } from "@weir/kit/limits/shared-store";
import { createLog } from "@weir/kit/log";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { findProgram, freePorts } from "weir/local-servers";
import { startRedis } from "weir/redis";
import { createCertificates } from "../security/certificates.ts";

// What WEIR_REDIS_URL may say: a Redis with TLS that knows users, each with rights of its own.

/** All that Weir needs: its keys, and the commands of its scripts. As docs/limits.md says. */
const rights =
  "resetkeys ~weir:limits:* -@all +hello +auth +select +client|setname +eval +evalsha +get +set +time +zadd +zremrangebyscore +zcard +pexpire";
const secret = "p:a/s@s%w";

const certificates = createCertificates("weir.test");
const before = getCACertificates("default");
let port = 0;
let child: ReturnType<typeof spawn>;

beforeAll(async () => {
  certificates.authority("authority");
  certificates.certificate("redis", "authority", "DNS:localhost");
  const { certificatePath, keyPath, authorityPath } = certificates.files("redis", "redis", "authority");
  [port = 0] = await freePorts(1);
  const options = {
    port: 0,
    "tls-port": port,
    bind: "127.0.0.1",
    "tls-cert-file": certificatePath,
    "tls-key-file": keyPath,
    "tls-ca-cert-file": authorityPath,
    "tls-auth-clients": "no",
    save: "",
    user: ["default off", `weir on >${secret} ${rights}`],
  };
  const args = Object.entries(options).flatMap(([name, value]) =>
    [value].flat().flatMap((text) => [`--${name}`, ...(text === "" ? [""] : String(text).split(" "))]),
  );
  child = spawn(findProgram("redis-server") ?? "redis-server", args, { stdio: "ignore" });
  // As NODE_EXTRA_CA_CERTS does when a process begins.
  setDefaultCACertificates([...before, readFileSync(authorityPath, "utf8")]);
});
afterAll(async () => {
  setDefaultCACertificates(before);
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
  certificates.remove();
});

/** @returns what was logged, as text */
function share(url: string) {
  let logged = "";
  const log = createLog({ service: "test", level: "debug", destination: { write: (line) => void (logged += line) } });
  const link = startRedis({ url, name: "weir-test", log });
  const store = createSharedStore({
    run: link.run,
    clock: systemClock,
    holder: "one",
    measures: { operation: () => undefined, judgedAlone: () => undefined },
    log,
  });
  const close = async () => {
    await store.close();
    link.close();
  };
  return { store, logged: () => logged, close };
}

const waiting = { timeout: 10_000, interval: 10 };
const address = (password: string, host = "localhost") =>
  `rediss://weir:${encodeURIComponent(password)}@${host}:${port}/5`;

test("limits are shared over TLS, with a name, a password, a database and no more rights than needed", async () => {
  const shared = share(address(secret));
  await vi.waitFor(() => expect(shared.store.isUp).toBe(true), waiting);
  await shared.close();
});

test("a wrong password and a server that is not the one named are told, without the password", async () => {
  const wrong = share(address("guessed"));
  const other = share(address(secret, "127.0.0.1"));
  for (const [shared, told] of [
    [wrong, "WRONGPASS"],
    [other, "ERR_TLS_CERT_ALTNAME_INVALID"],
  ] as const) {
    await vi.waitFor(() => expect(shared.logged()).toContain(told), waiting);
    expect(shared.logged()).not.toMatch(/guessed|p:a|p%3A/);
    expect(shared.store.isUp).toBe(false);
    await shared.close();
  }
});
