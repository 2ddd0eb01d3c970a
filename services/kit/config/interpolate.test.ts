import { expect, test } from "vitest";
import { interpolate } from "./interpolate.ts";

const sources = {
  env: { A: "one", EMPTY: "", NESTED: "${A}", FILE: "file:/etc/passwd", DIR: "/run" },
  readFile(path: string) {
    if (path === "/run/secret") return "s3cret\r\n";
    throw Object.assign(new Error("no"), { code: "ENOENT" });
  },
};

test("replaces variables in strings at any depth, and nothing else", () => {
  const { value, faults } = interpolate({ "${A}": ["${A}-${A}", 1, true, null, { x: "$A" }] }, sources);
  expect(value).toEqual({ "${A}": ["one-one", 1, true, null, { x: "$A" }] });
  expect(faults).toEqual([]);
});

test("what a reference brings in is not looked into again", () => {
  expect(interpolate(["${NESTED}", "${FILE}"], sources).value).toEqual(["${A}", "file:/etc/passwd"]);
});

test("a doubled dollar stands for itself", () => {
  expect(interpolate("$${A} ${A}", sources).value).toBe("${A} one");
});

test("a whole value may be a file's content, less one line break", () => {
  const { value, files } = interpolate({ key: "file:${DIR}/secret", text: "a file:/run/secret" }, sources);
  expect(value).toEqual({ key: "s3cret", text: "a file:/run/secret" });
  expect(files).toEqual(["/run/secret"]);
});

test("names every reference that leads nowhere", () => {
  const tree = { a: ["${NONE}"], "b.c": "${EMPTY}", d: "${", e: "${a-b}", f: "file:/none" };
  expect(interpolate(tree, sources).faults).toEqual([
    { path: "a[0]", text: "the environment variable NONE is not set" },
    { path: '["b.c"]', text: "the environment variable EMPTY is not set" },
    { path: "d", text: "`${` must be followed by a variable's name and `}`; write `$${` for the characters" },
    { path: "e", text: "`${` must be followed by a variable's name and `}`; write `$${` for the characters" },
    { path: "f", text: "the file /none cannot be read (ENOENT)" },
  ]);
});
