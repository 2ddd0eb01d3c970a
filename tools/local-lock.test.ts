import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { localPackages } from "./local-lock.ts";

const text = readFileSync(join(dirname(import.meta.dirname), "services/local/package-lock.json"), "utf8");
const { packages } = JSON.parse(text) as { packages: Parameters<typeof localPackages>[0] };

test("builds for graphics cards are taken out, and those of other platforms put in", () => {
  const builds = { "@node-llama-cpp/mac-x64": "3.22.1", "@node-llama-cpp/linux-x64-cuda": "3.22.1" };
  const given = {
    "node_modules/node-llama-cpp": { optionalDependencies: builds },
    "node_modules/@node-llama-cpp/linux-x64-cuda": {},
  };
  expect(localPackages(given)).toEqual({
    "node_modules/@node-llama-cpp/mac-x64": { version: "3.22.1", os: ["darwin"], cpu: ["x64"], optional: true },
    "node_modules/node-llama-cpp": { optionalDependencies: { "@node-llama-cpp/mac-x64": "3.22.1" } },
  });
});

test("the lockfile of local inference is in that state, and names no registry", () => {
  expect(packages).toHaveProperty(["node_modules/node-llama-cpp"]);
  expect(localPackages(packages)).toEqual(packages);
  expect(Object.keys(localPackages(packages))).toEqual(Object.keys(packages));
  expect(text).not.toContain('"resolved"');
});
