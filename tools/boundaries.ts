import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

/** A package of this repository: what it declares and what its files import. */
export interface Workspace {
  /** Name in package.json. */
  readonly name: string;
  /** Folder, relative to the root: `services/kit`. */
  readonly folder: string;
  readonly dependencies: readonly string[];
  readonly devDependencies: readonly string[];
  readonly sources: readonly Source[];
}

export interface Source {
  /** Path, relative to the package's folder. */
  readonly path: string;
  readonly text: string;
}

/** Which packages of ours a package may stand on. A package that is not named here may use none. */
const mayUse: Readonly<Record<string, readonly string[]>> = {
  "@weir/gen": [],
  "@weir/simulator": [],
  "@weir/kit": ["@weir/gen"],
  "@weir/price": ["@weir/gen", "@weir/kit"],
  "@weir/dialect": ["@weir/gen", "@weir/kit"],
  "@weir/edge": ["@weir/gen", "@weir/kit", "@weir/dialect"],
  "@weir/router": ["@weir/gen", "@weir/kit", "@weir/price"],
  "@weir/pool": ["@weir/gen", "@weir/kit", "@weir/price", "@weir/dialect"],
  "@weir/metering": ["@weir/gen", "@weir/kit", "@weir/price"],
  "@weir/local": ["@weir/gen", "@weir/kit", "@weir/dialect"],
};

/** Packages that put a service together, or test and measure the whole; they may use every other. */
const composers = new Set(["weir", "@weir/test", "@weir/bench"]);

/** Packages that reach a network, a disk or a database, and the files that may load them. Types are free for all. */
const drivers: readonly { readonly packages: RegExp; readonly files: RegExp }[] = [
  {
    packages: /^(pg|pg-.*|drizzle-orm|@electric-sql\/.*)(\/|$)/,
    files:
      /^services\/metering\/([a-z]+\/)?([a-z-]+-)?store\.ts$|^services\/metering\/(account-revision|costs|attempt-list|usage-question|schema|database|embedded)\.ts$/,
  },
  {
    packages: /^(nats|@nats-io\/.*)(\/|$)/,
    files: /^services\/(metering\/consumer|pool\/journal\/.*(drain|sink|jetstream))/,
  },
  { packages: /^undici(\/|$)/, files: /^services\/pool\// },
  { packages: /^ws(\/|$)/, files: /^services\/(edge\/http\/web-socket|pool\/passthrough\/realtime-[a-z-]+)\.ts$/ },
  { packages: /^jose(\/|$)/, files: /^services\/edge\/auth\// },
  { packages: /^@redis\/.*/, files: /^services\/weir\/redis\.ts$/ },
  { packages: /^node-llama-cpp(\/|$)/, files: /^services\/local\/(llama|loaded-model|grammar)\.ts$/ },
  {
    packages: /^(@connectrpc\/.*|@grpc\/.*)(\/|$)/,
    files: /^services\/(kit\/|edge\/(connect|grpc)\/|[a-z]+\/([a-z-]+-)?service\.ts)/,
  },
  { packages: /^@opentelemetry\/(?!api(\/|$))/, files: /^services\/kit\/telemetry\// },
];

const test = /(\.test\.ts$|\.bench\.ts$|\/testing(\/|\.ts$))/;

/** All ways in which packages break house-style section 6, one sentence each. Pure. */
export function boundaryFaults(workspaces: readonly Workspace[]): string[] {
  const faults: string[] = [];
  const ours = new Set(workspaces.map((workspace) => workspace.name));
  for (const workspace of workspaces) {
    const allowed = composers.has(workspace.name) ? ours : new Set(mayUse[workspace.name] ?? []);
    for (const name of workspace.dependencies) {
      if (ours.has(name) && !allowed.has(name)) {
        faults.push(`${workspace.folder}/package.json: ${workspace.name} may not depend on ${name}`);
      }
    }
    const declared = new Set([workspace.name, ...workspace.dependencies]);
    const declaredForTests = new Set([...declared, ...workspace.devDependencies]);
    for (const source of workspace.sources) {
      const path = `${workspace.folder}/${source.path}`;
      const isTest = test.test(path) || !path.startsWith("services/");
      for (const { specifier, typeOnly } of importsOf(source.text)) {
        if (specifier.startsWith(".")) {
          const target = join(workspace.folder, dirname(source.path), specifier);
          // Tests of every package share the servers that `test/` starts.
          if (isTest && target.startsWith("test/")) continue;
          if (relative(workspace.folder, target).startsWith("..")) {
            faults.push(`${path}: "${specifier}" leaves the package; import the other package by its name`);
          }
          continue;
        }
        const name = packageOf(specifier);
        if (ours.has(name) && !(isTest ? declaredForTests : declared).has(name)) {
          faults.push(`${path}: imports ${name}, which ${workspace.folder}/package.json does not list`);
        }
        if (typeOnly || isTest || composers.has(workspace.name)) continue;
        for (const driver of drivers) {
          if (driver.packages.test(specifier) && !driver.files.test(path)) {
            faults.push(`${path}: loads ${name}; only ${driver.files.source} may (types are free)`);
          }
        }
      }
      if (!isTest && !composers.has(workspace.name) && /\bprocess\.env\b/.test(source.text)) {
        faults.push(`${path}: reads process.env; only composition roots do`);
      }
    }
  }
  faults.push(...cycles(workspaces));
  return faults;
}

/** Import and export-from declarations of a file in this repository's format; the text need not compile. */
export function importsOf(text: string): { specifier: string; typeOnly: boolean }[] {
  const imports: { specifier: string; typeOnly: boolean }[] = [];
  const declaration = /^(?:import|export)\s+(type\s+)?(?:([\w$*{][^"';]*?)\s+from\s+)?"([^"]+)";?/gm;
  for (const [, type, names, specifier] of text.matchAll(declaration)) {
    if (specifier === undefined) continue;
    const named = names !== undefined && /^\{[^}]*\}$/.test(names) ? names.slice(1, -1).split(",") : undefined;
    const allTypes = named?.every((name) => /^\s*(type\s|$)/.test(name)) ?? false;
    imports.push({ specifier, typeOnly: type !== undefined || allTypes });
  }
  for (const [, specifier] of text.matchAll(/\bimport\(\s*"([^"]+)"\s*\)/g)) {
    if (specifier !== undefined) imports.push({ specifier, typeOnly: false });
  }
  return imports;
}

function packageOf(specifier: string): string {
  const parts = specifier.split("/");
  return parts.slice(0, specifier.startsWith("@") ? 2 : 1).join("/");
}

/** Cycles among the dependencies of packages. */
function cycles(workspaces: readonly Workspace[]): string[] {
  const byName = new Map(workspaces.map((workspace) => [workspace.name, workspace]));
  const faults: string[] = [];
  const done = new Set<string>();
  const visit = (name: string, path: readonly string[]): void => {
    if (path.includes(name)) {
      faults.push(
        `packages depend on each other in a circle: ${[...path.slice(path.indexOf(name)), name].join(" -> ")}`,
      );
      return;
    }
    if (done.has(name)) return;
    for (const next of byName.get(name)?.dependencies ?? []) if (byName.has(next)) visit(next, [...path, name]);
    done.add(name);
  };
  for (const workspace of workspaces) visit(workspace.name, []);
  return faults;
}

/** Reads the packages under a root folder, as its `workspaces` name them. */
export function readWorkspaces(root: string): Workspace[] {
  const patterns = (readJson(join(root, "package.json")) as { workspaces: string[] }).workspaces;
  // What a pattern with `!` keeps out of npm's workspaces is installed apart, and keeps the same rules.
  const included = patterns.filter((pattern) => !pattern.startsWith("!"));
  const folders = included.flatMap((pattern) =>
    pattern.endsWith("/*")
      ? readdirSync(join(root, pattern.slice(0, -2)), { withFileTypes: true })
          .filter((entry) => entry.isDirectory())
          .map((entry) => join(pattern.slice(0, -2), entry.name))
      : [pattern],
  );
  return folders.map((folder) => {
    const json = readJson(join(root, folder, "package.json")) as {
      name: string;
      dependencies?: Record<string, string>;
      peerDependencies?: Record<string, string>;
      devDependencies?: Record<string, string>;
    };
    return {
      name: json.name,
      folder,
      dependencies: Object.keys({ ...json.dependencies, ...json.peerDependencies }),
      devDependencies: Object.keys(json.devDependencies ?? {}),
      sources: readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
        .filter((path) => path.endsWith(".ts") && !path.includes("node_modules"))
        .filter((path) => !folders.some((other) => other !== folder && join(folder, path).startsWith(`${other}/`)))
        .map((path) => ({ path, text: readFileSync(join(root, folder, path), "utf8") })),
    };
  });
}

function readJson(path: string): unknown {
  return JSON.parse(readFileSync(path, "utf8"));
}
