import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createSimulator, type Simulator } from "@weir/simulator/simulator";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { freePorts } from "weir/local-servers";
import { stringify } from "yaml";
import { type Answer, ask, chat } from "../e2e/client.ts";
import { createDatabase, startPostgres, type TestServer } from "../servers.ts";
import { connectOperator, type Operator } from "./operator.ts";
import { createRedisServer, type RedisServer } from "./redis-server.ts";
import { runScenario, scenarioTimeoutMs, type Trial } from "./scenario.ts";
import { runService, type ServiceProcess } from "./service-process.ts";
import { faultConfig } from "./setting.ts";
import type { Door } from "./storm.ts";

// Three edges that share limits in Redis, which dies, stands still, starts anew or forgets while they serve. Each trial has limits of
// its own, those of aliases.

const folder = mkdtempSync(join(tmpdir(), "weir-redis-away-"));
const edgeCount = 3;
const trialsMax = Number(process.env["WEIR_FAULT_TRIALS"] ?? 20) + 20;

/** Requests a minute of what a storm asks for; the smallest are fewer than edges. */
const amounts = [1, 2, 10, 30];
/** Places of open calls. */
const places = 6;
/** A minute's requests of what is asked for only while Redis is away. */
const awayAmount = 12;
/** And of what is asked for when it is back. */
const backAmount = 2;
/** Rounds of that, of which the last is one in which Redis answered everybody in time; on a machine that is busy some are not. */
const roundsMax = 5;
/** All edges share again so long after Redis is back: twice the longest pause between two attempts to reach it. */
const backMsMax = 10_000;

/** What becomes of Redis. */
const faults = ["killed", "killed and emptied", "stopped", "restarted", "emptied"] as const;

let postgres: TestServer;
let database: Awaited<ReturnType<typeof createDatabase>>;
let simulator: Simulator;
let redis: RedisServer;
let operator: Operator;
let edges: Door[] = [];
const running: ServiceProcess[] = [];

beforeAll(async () => {
  redis = await createRedisServer();
  postgres = await startPostgres();
  database = await createDatabase(postgres.url);
  simulator = createSimulator();
  const { url: simulatorUrl } = await simulator.listen();
  const config = join(folder, "weir.yaml");
  writeFileSync(config, stringify({ ...faultConfig(simulatorUrl), aliases: aliases() }));
  const [behind = 0, ...ports] = await freePorts(1 + 2 * edgeCount);
  const address = `127.0.0.1:${behind}`;
  const start = (name: string, services: readonly string[], env: Readonly<Record<string, string>>) => {
    const home = join(folder, name);
    mkdirSync(home);
    const common = {
      WEIR_CONFIG: config,
      WEIR_DATA_DIR: home,
      WEIR_KEY_PEPPER: "test-pepper-".repeat(4),
      WEIR_HOST: "127.0.0.1",
    };
    running.push(runService(name, services, { ...common, ...env }, home));
  };
  start("behind", ["router", "pool", "metering"], { WEIR_LISTEN: address, WEIR_DATABASE_URL: database.url });
  for (let index = 0; index < edgeCount; index++) {
    start(`edge-${index}`, ["edge"], {
      WEIR_PORT: String(ports[2 * index]),
      WEIR_LISTEN: `127.0.0.1:${ports[2 * index + 1]}`,
      WEIR_PEER_ROUTER: address,
      WEIR_PEER_METERING: address,
      WEIR_REDIS_URL: redis.url,
    });
  }
  for (const process of running) await process.ready();
  operator = await connectOperator(address);
  const key = await operator.createTenant();
  edges = Array.from({ length: edgeCount }, (_, index) => ({ key, url: `http://127.0.0.1:${ports[2 * index]}` }));
  for (const edge of edges) {
    await vi.waitFor(async () => expect((await ask(edge, chat({}, { model: "probe" }))).status).toBe(200), {
      timeout: 20_000,
      interval: 100,
    });
  }
  await shared([], 30_000);
}, 120_000);
afterAll(async () => {
  await operator?.close();
  await Promise.all(running.map((process) => process.stop()));
  await simulator?.close();
  await redis?.close();
  await database?.drop();
  await postgres?.stop();
  rmSync(folder, { recursive: true, force: true });
});

function aliases(): Record<string, object> {
  const all: Record<string, object> = {};
  const add = (name: string, limits?: object) => {
    all[name] = { targets: [{ provider: "sim", model: name }], attempts_max: 1, ...(limits && { limits }) };
  };
  add("probe");
  for (let trial = 0; trial < trialsMax; trial++) {
    for (const amount of amounts) add(`storm-${amount}-${trial}`, { requests_per_minute: amount });
    add(`open-${trial}`, { concurrent_requests: places });
    add(`away-${trial}`, { requests_per_minute: awayAmount });
    for (let turn = 0; turn < roundsMax; turn++) add(`back-${turn}-${trial}`, { requests_per_minute: backAmount });
  }
  return all;
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const share = (amount: number) => Math.max(1, Math.floor(amount / edgeCount));

/** One figure of each edge. @param name as `/metrics` has it */
function measured(name: string): Promise<number[]> {
  const one = async ({ url }: Door): Promise<number> => {
    const lines = (await (await fetch(`${url}/metrics`)).text()).split("\n");
    return Number(lines.find((line) => line.startsWith(`${name} `))?.slice(name.length) ?? 0);
  };
  return Promise.all(edges.map(one));
}
const leases = () => measured('redis_operations_total{operation="lease",outcome="ok"}');
const judgedAlone = async () => (await measured("limits_judged_alone_total")).reduce((sum, count) => sum + count, 0);

/** Each edge says that it shares with all others, and Redis has answered more of its questions than these. */
async function shared(before: readonly number[], timeout = backMsMax): Promise<void> {
  const holds = async (): Promise<void> => {
    for (const { url } of edges) {
      const { dependencies } = (await (await fetch(`${url}/health`)).json()) as { dependencies: { name: string }[] };
      expect(dependencies.find(({ name }) => name === "redis")).toMatchObject({
        status: "up",
        detail: expect.stringContaining(`${edgeCount} processes`) as string,
      });
    }
    for (const [index, count] of (await leases()).entries()) expect(count).toBeGreaterThan(before[index] ?? 0);
  };
  await vi.waitFor(holds, { timeout, interval: 20 });
}

/** Most calls of a model that the provider had open at once. */
function openAtOnce(model: string): number {
  const records = simulator.attempts().filter((record) => record.model === model);
  const ends = records.map(({ endMs }) => ({ atMs: endMs, change: -1 }));
  const moments = [...ends, ...records.map(({ startMs }) => ({ atMs: startMs, change: 1 }))];
  let open = 0;
  // Who ends in the millisecond in which another begins came before it.
  moments.sort((a, b) => a.atMs - b.atMs || a.change - b.change);
  return Math.max(0, ...moments.map(({ change }) => (open += change)));
}

const servedOf = (answers: readonly Answer[]) => answers.filter(({ status }) => status === 200).length;

test(
  "F7 Redis away: no request fails, edges keep to their shares and to what they leased, and share everything again after",
  async () => {
    let turn = 0;
    const trial: Trial = async ({ random, seed }) => {
      const index = turn++;
      const amount = amounts[Math.floor(random() * amounts.length)] ?? 1;
      const fault = faults[seed % faults.length] as (typeof faults)[number];
      const found: string[] = [];
      let isOver = false;
      const call = async (edge: Door | undefined, model: string, headMs: number): Promise<Answer[]> => {
        const beganMs = performance.now();
        const answer = await ask(edge as Door, chat({ headMs }, { model })).catch((error: unknown) => String(error));
        const tookMs = performance.now() - beganMs;
        if (tookMs > 5_000) found.push(`a request to ${model} took ${tookMs} ms`);
        if (typeof answer === "string") found.push(`a request to ${model} failed: ${answer}`);
        else if (!isExpected(answer)) found.push(`${model}: ${answer.status} ${answer.text.slice(0, 200)}`);
        return typeof answer === "string" ? [] : [answer];
      };
      const ofAll = async (model: string, each: number): Promise<Answer[][]> => {
        const asked = edges.map((edge) => Promise.all(Array.from({ length: each }, () => call(edge, model, 0))));
        return (await Promise.all(asked)).map((answers) => answers.flat());
      };
      const storm = async (edge: Door, model: string, headMs: () => number): Promise<Answer[]> => {
        const answers: Answer[] = [];
        while (!isOver) {
          answers.push(...(await call(edge, model, headMs())));
          await pause(10);
        }
        return answers;
      };
      const storms = edges.map((edge) => storm(edge, `storm-${amount}-${index}`, () => 0));
      const opens = edges.flatMap((edge) =>
        Array.from({ length: 4 }, () => storm(edge, `open-${index}`, () => 50 + random() * 150)),
      );
      try {
        await pause(random() * 300);

        if (fault === "emptied") await redis.flush();
        else {
          if (fault === "stopped") redis.pause();
          else await redis.kill(fault === "restarted" ? "SIGTERM" : "SIGKILL");
          for (const answers of await ofAll(`away-${index}`, share(awayAmount) + 2)) {
            const served = servedOf(answers);
            if (served !== share(awayAmount))
              found.push(`an edge served ${served} for a share of ${share(awayAmount)}`);
          }
          if (fault === "killed and emptied") redis.empty();
          if (fault === "stopped") redis.resume();
          else await redis.start();
        }
        const before = await leases();
        await pause(random() * 200);
        await shared(before);
      } finally {
        isOver = true;
      }
      const served = servedOf((await Promise.all(storms)).flat());
      await Promise.all(opens);

      // Leases, shares, and all of it once more where Redis began from nothing.
      const rounds = fault === "emptied" || fault === "killed and emptied" ? 2 : 1;
      const most = (limit: number) => rounds * limit + edgeCount * share(limit);
      if (served > most(amount)) found.push(`${served} requests were served of ${amount}`);
      if (served < Math.min(amount, edgeCount)) found.push(`${served} requests were served of ${amount}`);
      const open = openAtOnce(`open-${index}`);
      if (open > most(places)) found.push(`${open} calls were open of ${places}`);

      let alone = 1;
      for (let round = 0; alone > 0 && round < roundsMax; round++) {
        const aloneBefore = await judgedAlone();
        const servedBack = servedOf((await ofAll(`back-${round}-${index}`, backAmount)).flat());
        alone = (await judgedAlone()) - aloneBefore;
        // Whom Redis did not answer in time, the edge says so.
        if (servedBack < backAmount || servedBack > backAmount + alone)
          found.push(`when Redis was back, ${servedBack} were served of ${backAmount}, ${alone} of them by shares`);
      }
      if (alone > 0) found.push(`when Redis was back, edges kept to their shares ${roundsMax} times`);
      // All places are free again, and one edge gets them all.
      await vi.waitFor(
        async () => {
          const all = await Promise.all(Array.from({ length: places }, () => call(edges[0], `open-${index}`, 100)));
          expect(servedOf(all.flat())).toBe(places);
        },
        { timeout: 15_000, interval: 50 },
      );
      return () => found.map((what) => `${fault}: ${what}`);
    };
    await runScenario("F7", trial, { settleMs: 0 });
  },
  scenarioTimeoutMs(),
);

/** Served, or refused for a limit and told when to come again. */
function isExpected({ status, broken, headers, text }: Answer): boolean {
  if (status === 200) return broken === undefined;
  return status === 429 && headers.has("retry-after") && text.includes("rate_limit_exceeded");
}
