import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { UsageEvent } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { systemClock } from "@weir/kit/clock";
import { silentLog } from "@weir/kit/log";
import { type Intent, openJournal } from "./journal.ts";
import { exampleEvent, exampleIntent } from "./examples.ts";

// What the journal costs on this machine: `node services/pool/journal/journal.bench.ts [pairs]`.

const pairs = Number(process.argv[2] ?? 100_000);
const directory = mkdtempSync(join(tmpdir(), "weir-journal-bench-"));
const base = { clock: systemClock, log: silentLog };

// Made before, and used again: what is measured is the journal, not the making of messages.
const ids = Array.from({ length: 1_000 }, () => crypto.randomUUID());
const intents = ids.map((id) => exampleIntent(id));
const events = ids.map((id) => exampleEvent(id));

const journal = await openJournal({ ...base, directory: join(directory, "grouped"), bytesMax: 2 ** 31 });
const run = async (count: number) => {
  for (let i = 0; i < count; i += 1) {
    void journal.intend(intents[i % 1_000] as Intent);
    journal.settle(events[i % 1_000] as UsageEvent);
    // A turn of the event loop for each 20 attempts.
    if (i % 20 !== 19) continue;
    await new Promise<void>((resolve) => setImmediate(resolve));
    journal.trim(journal.readableSequence);
  }
};
await run(20_000);
const cpu = process.cpuUsage();
const start = performance.now();
await run(pairs);
const wallMs = performance.now() - start;
const used = process.cpuUsage(cpu);
console.log(
  `intend + settle: ${((used.user + used.system) / pairs).toFixed(2)} us of CPU (user ${(used.user / pairs).toFixed(2)}), ${((wallMs * 1000) / pairs).toFixed(2)} us of time`,
);
await journal.close();

const strict = await openJournal({ ...base, directory: join(directory, "strict"), syncIntervalMs: 0 });
for (const parallel of [1, 32]) {
  const times: number[] = [];
  const one = async (count: number) => {
    for (let i = 0; i < count; i += 1) {
      const id = crypto.randomUUID();
      const began = performance.now();
      await strict.intend(exampleIntent(id));
      times.push(performance.now() - began);
      strict.settle(exampleEvent(id));
    }
  };
  await Promise.all(Array.from({ length: parallel }, () => one(200)));
  times.sort((a, b) => a - b);
  const at = (q: number) => times[Math.floor(times.length * q)]?.toFixed(2);
  console.log(`strict, ${parallel} at once: intend p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`);
}
await strict.close();
rmSync(directory, { recursive: true });
