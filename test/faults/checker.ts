import { fork } from "node:child_process";
import { join } from "node:path";
import type { Finding } from "./check.ts";

/** The checker: a process of its own, which gets the simulator's file and the database, and of a trial only its tag. */
export interface Checker {
  findingOf(tag: string): Promise<Finding>;
  stop(): Promise<void>;
}

interface Told {
  readonly tag?: string;
  readonly finding?: Finding;
  readonly failure?: string;
}

/** @param databaseUrl of a database that has its schema */
export async function startChecker(countFile: string, databaseUrl: string): Promise<Checker> {
  const child = fork(join(import.meta.dirname, "checker-main.ts"), [countFile, databaseUrl], {
    execArgv: [],
    serialization: "advanced",
  });
  const asked = new Map<string, PromiseWithResolvers<Finding>[]>();
  const ready = Promise.withResolvers<void>();
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  child.on("message", ({ tag, finding, failure }: Told) => {
    if (tag === undefined) {
      ready.resolve();
      return;
    }
    const waiting = asked.get(tag)?.shift();
    if (finding === undefined) waiting?.reject(new Error(failure));
    else waiting?.resolve(finding);
  });
  child.once("exit", (code) => {
    const gone = new Error(`the checker ended with code ${code}`);
    ready.reject(gone);
    for (const waiting of [...asked.values()].flat()) waiting.reject(gone);
  });
  await ready.promise;
  return {
    findingOf(tag) {
      const waiting = Promise.withResolvers<Finding>();
      const before = asked.get(tag) ?? [];
      asked.set(tag, [...before, waiting]);
      child.send(tag);
      return waiting.promise;
    },
    async stop() {
      if (child.connected) child.disconnect();
      await ended;
    },
  };
}
