import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Permission, Role } from "@weir/gen/weir/common/v1/access_pb";
import { expect, test } from "vitest";
import { permissionsOf } from "./roles.ts";

test("docs/identity.md tells each role's permissions as they are", () => {
  const text = readFileSync(join(import.meta.dirname, "../../docs/identity.md"), "utf8");
  const lines = text.split("\n");
  const head = lines.findIndex((line) => line.startsWith("| permission "));
  const cells = (line: string) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim());
  const [, ...roles] = cells(lines[head] ?? "");
  const rows = lines.slice(head + 2, lines.indexOf("", head)).map(cells);
  const told = Object.fromEntries(rows.map(([permission, ...marks]) => [permission, marks]));
  const asked = Object.entries(Permission).filter(
    ([, permission]) => !new Set<unknown>([Permission.UNSPECIFIED, Permission.PUBLIC, Permission.MESH]).has(permission),
  );
  const held = asked.map(([name, permission]) => [
    name.toLowerCase(),
    roles.map((word) => {
      const role = Role[word.toUpperCase() as keyof typeof Role];
      if (permissionsOf(role, false).has(permission)) return "yes";
      return permissionsOf(role, true).has(permission) ? "every" : "";
    }),
  ]);
  expect(told).toEqual(Object.fromEntries(held));
});
