import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

// `node tools/complete-lock.ts`, after npm has written package-lock.json. A registry that mirrors only some platforms makes
// npm leave the packages of the others out, and `npm ci` then refuses the lockfile. They are put back by the versions that
// their parents pin, with the platform that their names say, and without a hash: npm fetches each only where it belongs.

interface LockedPackage {
  readonly version?: string;
  readonly dev?: boolean;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const systems: Readonly<Record<string, string>> = {
  mac: "darwin",
  win: "win32",
  ...Object.fromEntries(
    ["aix", "android", "darwin", "freebsd", "linux", "netbsd", "openbsd", "openharmony", "sunos", "win32"].map(
      (system) => [system, system],
    ),
  ),
};
const processors: Readonly<Record<string, string>> = {
  armv7: "arm",
  armv7l: "arm",
  x64: "x64",
  arm64: "arm64",
  arm: "arm",
  ia32: "ia32",
};
const otherProcessors = ["ppc64", "riscv64", "s390x", "loong64", "mips64el", "wasm32"];

/** The platform of a package, from its name; undefined when the name says none. */
export function platformOf(name: string): { os: string[]; cpu: string[]; libc?: string[] } | undefined {
  const words = name.slice(name.lastIndexOf("/") + 1).split("-");
  const os = words.map((word) => systems[word]).find(Boolean);
  const cpu = words.map((word) => processors[word] ?? otherProcessors.find((other) => other === word)).find(Boolean);
  if (os === undefined || cpu === undefined) return undefined;
  const libc = words.some((word) => word.startsWith("musl"))
    ? ["musl"]
    : words.some((word) => word.startsWith("gnu"))
      ? ["glibc"]
      : undefined;
  return { os: [os], cpu: [cpu], ...(libc === undefined ? {} : { libc }) };
}

/** Entries for optional packages that a lockfile refers to and lacks, by path. Pure. */
export function missingEntries(packages: Readonly<Record<string, LockedPackage>>): Record<string, object> {
  const missing: Record<string, object> = {};
  for (const parent of Object.values(packages)) {
    for (const [name, version] of Object.entries(parent.optionalDependencies ?? {})) {
      const path = `node_modules/${name}`;
      const platform = platformOf(name);
      if (path in packages || platform === undefined || !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version)) continue;
      missing[path] = { version, ...platform, ...(parent.dev === true ? { dev: true } : {}), optional: true };
    }
  }
  return missing;
}

if (import.meta.main) {
  const path = join(dirname(import.meta.dirname), "package-lock.json");
  const lock = JSON.parse(readFileSync(path, "utf8")) as { packages: Record<string, LockedPackage> };
  const missing = missingEntries(lock.packages);
  const sorted = Object.entries({ ...lock.packages, ...missing }).toSorted(([a], [b]) => a.localeCompare(b, "en"));
  writeFileSync(path, `${JSON.stringify({ ...lock, packages: Object.fromEntries(sorted) }, null, 2)}\n`);
  console.log(`added ${Object.keys(missing).length} packages of other platforms to package-lock.json`);
}
