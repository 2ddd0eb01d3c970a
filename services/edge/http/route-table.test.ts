import fc from "fast-check";
import { expect, test } from "vitest";
import { createRouteTable, type RouteRow } from "./route-table.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1_000);

const table = createRouteTable([
  { method: "GET", path: "/v1/models" },
  { method: "GET", path: "/v1/models/{id=**}" },
  { method: "GET", path: "/v1/models/special" },
  { method: "POST", path: "/v1/models/{id=**}:generate" },
  { method: "POST", path: "/v1/models:count" },
  { method: "POST", path: "/v1/files/{file}/content" },
  { method: "GET", path: "/v1/a.b" },
  { method: "GET", path: "/v1/{name=keys/*}", keepsSlashes: true },
  { method: "POST", path: "/v1/{name=keys/*}:revoke", keepsSlashes: true },
  { method: "GET", path: "/v1/{one}/{two}/x", keepsSlashes: true },
]);

test.each([
  ["GET", "/v1/models", {}],
  ["GET", "/v1/models/gpt", { id: "gpt" }],
  ["GET", "/v1/models/meta/llama%2F3%20x", { id: "meta/llama/3 x" }],
  ["GET", "/v1/models/special", {}],
  ["GET", "/v1/%6dodels", {}],
  ["GET", "/v1/models/llama3:8b", { id: "llama3:8b" }],
  ["GET", "/v1/models/x:generate", { id: "x:generate" }],
  ["POST", "/v1/models/llama3:8b:generate", { id: "llama3:8b" }],
  ["POST", "/v1/models/a%3Agenerate:generate", { id: "a:generate" }],
  ["POST", "/v1/models:count", {}],
  ["POST", "/v1/files/f1/content", { file: "f1" }],
  ["GET", "/v1/keys/a%2Fb%20c", { name: "keys/a%2Fb c" }],
  ["POST", "/v1/keys/a:revoke", { name: "keys/a" }],
  ["GET", "/v1/a%2Fb/c/x", { one: "a/b", two: "c" }],
])("%s %s is found", (method, path, params) => {
  const found = table.find(path, method);
  expect(found?.row).toBeDefined();
  expect(found?.params).toEqual(params);
});

test.each([
  "/",
  "",
  "/v1/models/",
  "/v1/models/%zz",
  "/v1/models/%ff",
  "/v1/models//x",
  "/v1/files/a/b/content",
  "/v1/files//content",
  "/v1/aXb",
  "/V1/models",
  "//v1/models",
  "/v1/keys",
  "/v1/models:other",
  "/v1/models%3Acount",
  "v1/models",
])("%s is not found", (path) => {
  expect(table.find(path, "GET")).toBeUndefined();
});

test("a path that has other methods tells them, over all templates that fit", () => {
  expect(table.find("/v1/models", "PUT")).toMatchObject({ row: undefined, allow: "GET, HEAD, OPTIONS" });
  expect(table.find("/v1/models/x:generate", "PUT")).toMatchObject({
    row: undefined,
    allow: "POST, GET, HEAD, OPTIONS",
    anyRow: { path: "/v1/models/{id=**}:generate" },
  });
});

test("GET also answers HEAD, unless HEAD has a row", () => {
  expect(table.find("/v1/models", "HEAD")?.row).toMatchObject({ method: "GET" });
  const own = createRouteTable([
    { method: "GET", path: "/a" },
    { method: "HEAD", path: "/a" },
  ]);
  expect(own.find("/a", "HEAD")?.row).toMatchObject({ method: "HEAD" });
});

test("a row for every method answers what no other does, but OPTIONS", () => {
  const open = createRouteTable([
    { method: "*", path: "/{a}" },
    { method: "GET", path: "/{b}" },
    { method: "*", path: "/x" },
  ]);
  expect(open.find("/y", "PUT")?.params).toEqual({ a: "y" });
  expect(open.find("/y", "GET")?.params).toEqual({ b: "y" });
  expect(open.find("/x", "GET")?.row).toMatchObject({ path: "/x" });
  expect(open.find("/x", "OPTIONS")).toMatchObject({
    row: undefined,
    allow: "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
  });
});

test("a name such as __proto__ is a value like others", () => {
  expect(table.find("/v1/models/__proto__", "GET")?.params).toEqual({ id: "__proto__" });
});

test("a method that a text lacks is looked for under the templates that fit as well", () => {
  const mixed = createRouteTable([
    { method: "GET", path: "/v1/a" },
    { method: "POST", path: "/v1/{b}" },
    { method: "PUT", path: "/{c=**}" },
  ]);
  expect(mixed.find("/v1/a", "POST")?.params).toEqual({ b: "a" });
  expect(mixed.find("/v1/a", "PUT")?.params).toEqual({ c: "v1/a" });
  expect(mixed.find("/v1/a", "PATCH")?.allow).toBe("GET, HEAD, POST, PUT, OPTIONS");
});

test.each([
  ["/a", "/a"],
  ["/{a}", "/{b}"],
  ["/{a=x/*}/c", "/x/{b}/c"],
  ["/{a=**}:v", "/{b=**}:v"],
  ["/%61", "/a"],
])("%s and %s are one path, which stops the start", (one, other) => {
  const rows = [
    { method: "GET", path: one },
    { method: "GET", path: other },
  ];
  expect(() => createRouteTable(rows)).toThrow(`GET ${other} and GET ${one} are one path`);
  expect(() => createRouteTable([{ method: "POST", path: one }, ...rows.slice(1)])).not.toThrow();
});

test("a template that cannot be read is refused", () => {
  expect(() => createRouteTable([{ method: "GET", path: "/{a=**}/b" }])).toThrow("must be the last");
});

// A second reading of the rules, in the plainest way: all rows, tried in turn, the best one wins.

interface Plain extends RouteRow {
  readonly parts: readonly string[];
  readonly verb: string;
}

function plainRow(parts: readonly string[], verb: string): Plain {
  const texts = parts.map((part, index) => (part === "*" ? `{p${index}}` : part === "**" ? `{p${index}=**}` : part));
  return { method: "GET", path: `/${texts.join("/")}${verb === "" ? "" : `:${verb}`}`, parts, verb };
}

const rank = { text: 0, "*": 1, "**": 2 } as const;
const rankOf = (part: string | undefined) => (part === undefined ? 2 : part === "*" || part === "**" ? rank[part] : 0);

function fits({ parts, verb }: Plain, path: string): boolean {
  const bare = verb === "" ? path : path.endsWith(`:${verb}`) ? path.slice(0, -verb.length - 1) : undefined;
  const segments = bare?.slice(1).split("/") ?? [""];
  if (bare === undefined || segments.includes("")) return false;
  const isOpen = parts.at(-1) === "**";
  const fixed = isOpen ? parts.slice(0, -1) : parts;
  if (isOpen ? segments.length < fixed.length : segments.length !== fixed.length) return false;
  return fixed.every((part, index) => part === "*" || part === segments[index]);
}

function compare(one: Plain, other: Plain): number {
  if ((one.verb === "") !== (other.verb === "")) return one.verb === "" ? 1 : -1;
  for (let index = 0; index < 8; index++) {
    // A template that has ended is more exact than one that goes on with `**`.
    const [a, b] = [one, other].map(({ parts }) =>
      index >= parts.length ? (parts.at(-1) === "**" ? 2 : 0) : rankOf(parts[index]),
    );
    if (a !== b) return (a ?? 0) - (b ?? 0);
  }
  return 0;
}

const word = fc.constantFrom("a", "b", "a:v", "c");
const rows = fc.uniqueArray(
  fc
    .tuple(
      fc.array(fc.constantFrom("a", "b", "*"), { minLength: 1, maxLength: 3 }),
      fc.constantFrom("", "", "**"),
      fc.constantFrom("", "", "v", "w"),
    )
    .map(([parts, rest, verb]) => plainRow(rest === "" ? parts : [...parts, rest], verb)),
  { selector: ({ path }) => path, minLength: 1, maxLength: 8 },
);

test("the trie finds what trying every row finds", () => {
  const paths = fc.array(word, { minLength: 1, maxLength: 4 }).map((words) => `/${words.join("/")}`);
  fc.assert(
    fc.property(rows, paths, (some, path) => {
      const [best] = some.filter((row) => fits(row, path)).sort(compare);
      const found = createRouteTable(some).find(path, "GET");
      expect(found?.row?.path).toBe(best?.path);
    }),
    { numRuns },
  );
});

test("no path makes it throw", () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(..."/:%2Ffaé{}*v1modelskyx ."), maxLength: 40 }), (path) => {
      table.find(path, "GET");
      table.find(`/v1/models/${path}`, "POST");
    }),
    { numRuns },
  );
});
