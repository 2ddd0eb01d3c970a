import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Config } from "@weir/gen/weir/config/v1/config_pb";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { systemClock } from "../clock.ts";
import { silentLog } from "../log.ts";
import { type ConfigWatch, watchConfig } from "./watch.ts";

let folder: string;
let path: string;
let watch: ConfigWatch | undefined;
let applied: (number | undefined)[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "weir-watch-"));
  path = join(folder, "weir.yaml");
  applied = [];
});
afterEach(() => {
  watch?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function start(apply: (config: Config) => void = () => {}): Promise<ConfigWatch> {
  watch = await watchConfig({
    path,
    env: {},
    clock: systemClock,
    log: silentLog,
    intervalMs: 5,
    apply(config) {
      apply(config);
      applied.push(config.edge?.requestsMax);
    },
  });
  return watch;
}

const write = (requestsMax: unknown) => writeFileSync(path, `edge: {requests_max: ${String(requestsMax)}}`);

test("a changed file comes into force by itself, also when it is replaced by another", async () => {
  write(1);
  await start();
  expect(applied).toEqual([1]);
  write(22);
  await vi.waitFor(() => expect(applied).toEqual([1, 22]));
  writeFileSync(join(folder, "next"), "edge: {requests_max: 33}");
  renameSync(join(folder, "next"), path);
  await vi.waitFor(() => expect(applied).toEqual([1, 22, 33]));
});

test("a bad file, or none, keeps the former one in force and shows why", async () => {
  write(1);
  const running = await start();
  write("many");
  await vi.waitFor(() => expect(running.status().fault).toContain("edge.requests_max: expected a whole number"));
  rmSync(path);
  await vi.waitFor(() => expect(running.status().fault).toContain("ENOENT"));
  expect(applied).toEqual([1]);
  write(2);
  await vi.waitFor(() => expect(applied).toEqual([1, 2]));
  expect(running.status().fault).toBeUndefined();
});

test("what cannot be put into force counts as a bad file", async () => {
  write(1);
  const running = await start((config) => {
    if (config.edge?.requestsMax === 13) throw new Error("unlucky");
  });
  write(13);
  await vi.waitFor(() => expect(running.status().fault).toBeDefined());
  expect(applied).toEqual([1]);
});

test("watches the files that the configuration names, even one that is missing at first", async () => {
  write(1);
  const running = await start();
  writeFileSync(path, 'edge: {requests_max: "file:number"}');
  await vi.waitFor(() => expect(running.status().fault).toContain("the file number cannot be read"));
  writeFileSync(join(folder, "number"), "5");
  await vi.waitFor(() => expect(applied).toEqual([1, 5]));
  writeFileSync(join(folder, "number"), "66");
  await vi.waitFor(() => expect(applied).toEqual([1, 5, 66]));
});

test("the first configuration must be good", async () => {
  write("many");
  await expect(start()).rejects.toThrow("requests_max");
});
