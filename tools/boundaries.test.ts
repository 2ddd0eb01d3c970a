import { dirname } from "node:path";
import { expect, test } from "vitest";
import { boundaryFaults, importsOf, readWorkspaces, type Workspace } from "./boundaries.ts";

function workspace(name: string, options: Partial<Workspace> = {}): Workspace {
  return {
    name,
    folder: `services/${name.replace("@weir/", "")}`,
    dependencies: [],
    devDependencies: [],
    sources: [],
    ...options,
  };
}

test("this repository keeps its boundaries", () => {
  const workspaces = readWorkspaces(dirname(import.meta.dirname));
  expect(workspaces.map((found) => found.name)).toContain("@weir/kit");
  expect(boundaryFaults(workspaces)).toEqual([]);
});

test("a service may not depend on another service", () => {
  const faults = boundaryFaults([
    workspace("@weir/edge", { dependencies: ["@weir/router"] }),
    workspace("@weir/router"),
  ]);
  expect(faults).toEqual(["services/edge/package.json: @weir/edge may not depend on @weir/router"]);
});

test("an import of a package that is not declared, and one that leaves the folder, are faults", () => {
  const text = 'import { a } from "@weir/kit/a";\nimport { b } from "../router/b.ts";\n';
  const faults = boundaryFaults([
    workspace("@weir/edge", { sources: [{ path: "service.ts", text }] }),
    workspace("@weir/kit"),
  ]);
  expect(faults).toHaveLength(2);
  expect(faults[0]).toContain("imports @weir/kit");
  expect(faults[1]).toContain('"../router/b.ts" leaves the package');
});

test("domain files load no driver and read no environment; their types are free", () => {
  const sources = [
    { path: "ledger.ts", text: 'import pg from "pg";\nexport const url = process.env.URL;\n' },
    { path: "entry.ts", text: 'import type { Pool } from "pg";\nimport { type Code } from "@connectrpc/connect";\n' },
    { path: "store.ts", text: 'import pg from "pg";\n' },
    { path: "ledger.test.ts", text: 'import pg from "pg";\n' },
  ];
  const faults = boundaryFaults([workspace("@weir/metering", { sources })]);
  expect(faults).toHaveLength(2);
  expect(faults[0]).toContain("services/metering/ledger.ts: loads pg");
  expect(faults[1]).toContain("services/metering/ledger.ts: reads process.env");
});

test("packages that depend on each other are named as a circle", () => {
  const faults = boundaryFaults([
    workspace("weir", { dependencies: ["@weir/test"] }),
    workspace("@weir/test", { dependencies: ["weir"] }),
  ]);
  expect(faults).toEqual(["packages depend on each other in a circle: weir -> @weir/test -> weir"]);
});

test("finds every form of import", () => {
  const text = [
    'import "side-effect";',
    'import type { A } from "types";',
    'import { type B, type C } from "inline-types";',
    'import {\n  type D,\n  e,\n} from "mixed";',
    'import * as f from "all";',
    'export { g } from "re-export";',
    'const h = await import("dynamic");',
    'const text = `import "not-one"`;',
  ].join("\n");
  expect(importsOf(text)).toEqual([
    { specifier: "side-effect", typeOnly: false },
    { specifier: "types", typeOnly: true },
    { specifier: "inline-types", typeOnly: true },
    { specifier: "mixed", typeOnly: false },
    { specifier: "all", typeOnly: false },
    { specifier: "re-export", typeOnly: false },
    { specifier: "dynamic", typeOnly: false },
  ]);
});
