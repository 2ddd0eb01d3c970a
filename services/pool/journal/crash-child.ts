import { writeSync } from "node:fs";
import { flushCompileCache } from "node:module";
import { systemClock } from "@weir/kit/clock";
import { silentLog } from "@weir/kit/log";
import { exampleEvent, exampleIntent, exampleUsage } from "./examples.ts";
import { openJournal } from "./journal.ts";

// The process that crash.test.ts kills: it runs attempts without end and says on standard output what it was promised.
// Lines: `i <attempt>` an intent returned, `s <attempt> <output tokens>` a settlement's turn is over.

// What it has compiled is kept now, for the next one: it will be killed.
flushCompileCache();

const directory = process.argv[2] as string;
let state = Number(process.argv[3]);

/** Numbers that a seed repeats: https://en.wikipedia.org/wiki/Linear_congruential_generator */
function random(below: number): number {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
}

const journal = await openJournal({
  directory,
  segmentBytes: 16_384,
  syncIntervalMs: 2,
  clock: systemClock,
  log: silentLog,
});
writeSync(1, "open\n");
const open: string[] = [];
for (;;) {
  let settled = "";
  for (let i = random(6); i >= 0; i -= 1) {
    const id = crypto.randomUUID();
    void journal.intend(exampleIntent(id));
    writeSync(1, `i ${id}\n`);
    open.push(id);
  }
  for (let i = random(7); i > 0 && open.length > 0; i -= 1) {
    const [id] = open.splice(random(open.length), 1) as [string];
    if (random(3) === 0) journal.progress(id, exampleUsage(1, 5_000));
    const outputTokens = random(1_000);
    journal.settle(exampleEvent(id, exampleUsage(1, outputTokens)));
    settled += `s ${id} ${outputTokens}\n`;
  }
  await new Promise<void>((resolve) => setImmediate(resolve));
  if (settled !== "") writeSync(1, settled);
}
