import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { findProgram, freePorts, isFree, preparePostgres, waitForPort } from "./local-servers.ts";

const folder = mkdtempSync(join(tmpdir(), "weir-servers-"));
const made = [folder];
afterAll(() => {
  for (const path of made) rmSync(path, { recursive: true, force: true });
});

test("free ports are different and free; a taken one is not", async () => {
  const ports = await freePorts(5);
  expect(new Set(ports).size).toBe(5);
  const server = createServer();
  const port = ports[0] ?? 0;
  expect(await isFree(port)).toBe(true);
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  expect(await isFree(port)).toBe(false);
  await waitForPort(port, 1_000, new AbortController().signal);
  await new Promise((resolve) => server.close(resolve));
  await expect(waitForPort(port, 100, new AbortController().signal)).rejects.toThrow("nothing answers");
});

test("a program is found along PATH, and a missing one is not", () => {
  expect(findProgram("sh", "/nonexistent:/bin")).toBe("/bin/sh");
  expect(findProgram("no-such-program")).toBeUndefined();
});

test("a Postgres cluster is made once, also for root", async () => {
  const wanted = join(folder, "cluster");
  const login = { user: "weir", password: "secret", database: "weir" };
  const first = await preparePostgres(wanted, login);
  made.push(first.folder);
  expect(first.user === undefined).toBe(process.getuid?.() !== 0);
  const started = performance.now();
  expect(await preparePostgres(wanted, login)).toEqual(first);
  expect(performance.now() - started).toBeLessThan(1_000);
}, 60_000);
