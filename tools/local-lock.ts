import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { missingEntries } from "./complete-lock.ts";

// `node tools/local-lock.ts`, after npm has written services/local/package-lock.json. node-llama-cpp names its builds for
// graphics cards as optional packages, so that npm would install hundreds of megabytes of them on every machine: they are
// taken out of the lockfile, and whoever wants one adds it to the installation. Then the builds for other platforms are put
// back as in the lockfile of the root.

type Packages = Parameters<typeof missingEntries>[0];

const graphicsBuild = /^@node-llama-cpp\/.*-(cuda|cuda-ext|vulkan)$/;

/** A lockfile's packages without builds for graphics cards, and with those of every platform. Pure. */
export function localPackages(packages: Packages): Packages {
  const kept = Object.entries(packages)
    .filter(([path]) => !graphicsBuild.test(path.slice("node_modules/".length)))
    .map(([path, entry]): [string, Packages[string]] => {
      const optional = Object.entries(entry.optionalDependencies ?? {});
      const named = optional.filter(([name]) => !graphicsBuild.test(name));
      return [path, optional.length === 0 ? entry : { ...entry, optionalDependencies: Object.fromEntries(named) }];
    });
  const all = { ...Object.fromEntries(kept), ...missingEntries(Object.fromEntries(kept)) };
  return Object.fromEntries(Object.entries(all).toSorted(([a], [b]) => a.localeCompare(b, "en")));
}

if (import.meta.main) {
  const path = join(dirname(import.meta.dirname), "services/local/package-lock.json");
  const lock = JSON.parse(readFileSync(path, "utf8")) as { packages: Packages };
  const packages = localPackages(lock.packages);
  writeFileSync(path, `${JSON.stringify({ ...lock, packages }, null, 2)}\n`);
  console.log(`services/local/package-lock.json has ${Object.keys(packages).length - 1} packages`);
}
