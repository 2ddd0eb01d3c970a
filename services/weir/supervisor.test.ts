import { systemClock } from "@weir/kit/clock";
import { afterEach, expect, test, vi } from "vitest";
import { type Supervised, supervise } from "./supervisor.ts";

const running: Supervised[] = [];
afterEach(async () => {
  for (const process of running.splice(0)) await process.stop(1_000);
});

function start(script: string, options: Partial<Parameters<typeof supervise>[1]> = {}) {
  const lines: string[] = [];
  const exits: [string, number | undefined][] = [];
  const messages: unknown[] = [];
  const supervised = supervise(
    { name: "p", command: process.execPath, args: ["-e", script], env: process.env, tethered: true },
    {
      clock: systemClock,
      onLine: (_name, line) => void lines.push(line),
      onMessage: (_name, message) => void messages.push(message),
      onExit: (_name, how, restartMs) => void exits.push([how, restartMs]),
      ...options,
    },
  );
  running.push(supervised);
  return { supervised, lines, exits, messages };
}

test("passes lines and messages on", async () => {
  const { lines, messages } = start(
    "console.log('out'); console.error('err'); process.send({ kind: 'ready' }); setInterval(() => {}, 1000)",
  );
  await vi.waitFor(() => {
    expect(lines.toSorted()).toEqual(["err", "out"]);
    expect(messages).toEqual([{ kind: "ready" }]);
  }, 10_000);
});

test("starts a process again with growing pauses, until it is stopped", async () => {
  const { supervised, exits } = start("process.exit(3)");
  await vi.waitFor(() => expect(exits.length).toBeGreaterThanOrEqual(2), 10_000);
  expect(exits[0]).toEqual(["exit code 3", 200]);
  expect(exits[1]).toEqual(["exit code 3", 400]);
  await supervised.stop(1_000);
  const count = exits.length;
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  expect(exits.length).toBe(count);
});

test("a process that will not end is killed when its time is up", async () => {
  const { supervised, lines } = start(
    "process.on('SIGTERM', () => {}); console.log('up'); setInterval(() => {}, 1000)",
  );
  await vi.waitFor(() => expect(lines).toEqual(["up"]), 10_000);
  const pid = supervised.pid() ?? 0;
  await supervised.stop(100);
  expect(() => process.kill(pid, 0)).toThrow("ESRCH");
});

test("a program that is not there is told, not thrown", async () => {
  const exits: string[] = [];
  const supervised = supervise(
    { name: "p", command: "/nonexistent/program", args: [], env: {} },
    { clock: systemClock, onLine: () => {}, onExit: (_name, how) => void exits.push(how), restart: false },
  );
  running.push(supervised);
  await vi.waitFor(() => expect(exits[0]).toContain("could not start"));
  expect(supervised.pid()).toBeUndefined();
});
