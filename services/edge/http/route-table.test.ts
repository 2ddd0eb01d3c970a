import { expect, test } from "vitest";
import { createRouteTable } from "./route-table.ts";

const table = createRouteTable([
  { method: "GET", path: "/v1/models" },
  { method: "GET", path: "/v1/models/{id=**}" },
  { method: "GET", path: "/v1/models/special" },
  { method: "POST", path: "/v1/files/{file}/content" },
  { method: "GET", path: "/v1/a.b" },
]);

test.each([
  ["/v1/models", {}],
  ["/v1/models/gpt", { id: "gpt" }],
  ["/v1/models/meta/llama%2F3%20x", { id: "meta/llama/3 x" }],
  ["/v1/models/special", {}],
  ["/v1/files/f1/content", { file: "f1" }],
])("%s is found", (path, params) => {
  expect(table.find(path)?.params).toEqual(params);
});

test.each(["/", "", "/v1/models/", "/v1/models/%zz", "/v1/files/a/b/content", "/v1/aXb", "/V1/models", "//v1/models"])(
  "%s is not found",
  (path) => {
    expect(table.find(path)).toBeUndefined();
  },
);

test("GET also answers HEAD, and every path OPTIONS", () => {
  const found = table.find("/v1/models");
  expect([...(found?.path.byMethod.keys() ?? [])]).toEqual(["GET", "HEAD"]);
  expect(found?.path.allow).toBe("GET, HEAD, OPTIONS");
});

test("a name such as __proto__ is a value like others", () => {
  expect(table.find("/v1/models/__proto__")?.params).toEqual({ id: "__proto__" });
});

test("rows that contradict each other are refused", () => {
  const row = { method: "GET", path: "/a" };
  expect(() => createRouteTable([row, row])).toThrow("GET /a twice");
  expect(() => createRouteTable([{ method: "GET", path: "/{a=**}/b" }])).toThrow("** stands last");
  expect(() => createRouteTable([{ method: "GET", path: "/x{a}" }])).toThrow("all literal or all name");
});
