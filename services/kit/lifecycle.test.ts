import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";

const kit = new URL("./", import.meta.url).href;

/** Runs a real process with a lifecycle; `body` adds its steps. */
function start(body: string): { child: ChildProcess; output: () => string; started: Promise<unknown> } {
  const file = join(mkdtempSync(join(tmpdir(), "weir-lifecycle-")), "main.ts");
  writeFileSync(
    file,
    `import { createLifecycle } from "${kit}lifecycle.ts";
     import { createLog } from "${kit}log.ts";
     const log = createLog({ service: "test", level: "debug", destination: 1 });
     const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
     setInterval(() => {}, 1000);
     ${body}
     log.warn({}, "started");`,
  );
  const child = fork(file, { stdio: ["ignore", "pipe", "pipe", "ipc"] });
  let output = "";
  child.stdout?.on("data", (data) => {
    output += String(data);
  });
  child.stderr?.on("data", (data) => {
    output += String(data);
  });
  const started = new Promise<void>((resolve) => {
    child.stdout?.on("data", () => output.includes('"started"') && resolve());
  });
  return { child, output: () => output, started };
}

async function exitOf(child: ChildProcess): Promise<number | null> {
  // Not "close": after `disconnect()` it never comes.
  const [[code]] = await Promise.all([once(child, "exit"), child.stdout && once(child.stdout, "close")]);
  return code as number | null;
}

test("SIGTERM runs the steps in order and exits with 0; a signal's echo changes nothing", async () => {
  const { child, output, started } = start(`
    const life = createLifecycle({ log });
    life.onStop("one", 1000, async () => { await wait(30); log.info({ ready: !life.stopping }, "step one"); });
    life.onStop("two", 1000, () => log.info({}, "step two"));`);
  await started;
  child.kill("SIGTERM");
  child.kill("SIGINT");
  expect(await exitOf(child)).toBe(0);
  expect(output()).toContain('"ready":false');
  expect(output().indexOf("step one")).toBeLessThan(output().indexOf("step two"));
});

test("a step that is late or fails does not keep the next one from running; the code is 1", async () => {
  const { child, output, started } = start(`
    const life = createLifecycle({ log });
    life.onStop("hangs", 50, (signal) => new Promise(() => signal.addEventListener("abort", () => log.info({}, "told"))));
    life.onStop("fails", 50, () => { throw new Error("CANARY"); });
    life.onStop("last", 1000, () => log.info({}, "step last"));`);
  await started;
  child.kill("SIGTERM");
  expect(await exitOf(child)).toBe(1);
  expect(output()).toContain('"told"');
  expect(output()).toContain('"step last"');
  expect(output()).not.toContain("CANARY");
});

test("the total deadline ends a stop whose steps have more time than that", async () => {
  const { child, started } = start(`
    const life = createLifecycle({ log, totalTimeoutMs: 50 });
    life.onStop("hangs", 60_000, () => new Promise(() => {}));`);
  await started;
  child.kill("SIGTERM");
  expect(await exitOf(child)).toBe(1);
});

test("a later second signal exits at once", async () => {
  const { child, output, started } = start(`
    const life = createLifecycle({ log });
    life.onStop("hangs", 60_000, () => new Promise(() => { setTimeout(() => log.warn({}, "half a second on"), 600); }));`);
  await started;
  child.kill("SIGTERM");
  await new Promise<void>((resolve) =>
    child.stdout?.on("data", () => output().includes("half a second on") && resolve()),
  );
  child.kill("SIGTERM");
  expect(await exitOf(child)).toBe(1);
});

test.each([
  ["uncaughtException", `setTimeout(() => { throw new Error("CANARY"); }, 10);`],
  ["unhandledRejection", `setTimeout(() => { void Promise.reject(new Error("CANARY")); }, 10);`],
])("%s is logged without its text and exits with 1", async (kind, body) => {
  const { child, output } = start(`createLifecycle({ log }); ${body}`);
  expect(await exitOf(child)).toBe(1);
  expect(output()).toContain(kind);
  expect(output()).not.toContain("CANARY");
});

test("a child whose parent is gone stops in order", async () => {
  const { child, output, started } = start(`
    const life = createLifecycle({ log });
    life.onStop("last", 1000, () => log.info({}, "step last"));`);
  await started;
  child.disconnect();
  expect(await exitOf(child)).toBe(0);
  expect(output()).toContain('"step last"');
});
