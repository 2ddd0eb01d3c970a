import { expect, test } from "vitest";
import { createPartialArgs } from "./partial-args.ts";

function put(...pieces: unknown[]) {
  const args = createPartialArgs();
  return { isGood: pieces.every((piece) => args.add(piece)), json: args.json() };
}

test.each<[string, unknown[], string]>([
  ["nothing", [], "{}"],
  [
    "values of each type",
    [
      { jsonPath: "$.a", numberValue: 1.5 },
      { jsonPath: "$.b", boolValue: false },
      { jsonPath: "$.c", nullValue: "NULL_VALUE" },
      { jsonPath: "$.d", stringValue: "" },
    ],
    '{"a":1.5,"b":false,"c":null,"d":""}',
  ],
  [
    "a text in pieces",
    [
      { jsonPath: "$.a", stringValue: "x", willContinue: true },
      { jsonPath: "$.a", stringValue: "y" },
    ],
    '{"a":"xy"}',
  ],
  [
    "a text that is empty at its end",
    [{ jsonPath: "$.a", stringValue: "x", willContinue: true }, { jsonPath: "$.a" }],
    '{"a":"x"}',
  ],
  [
    "a text set anew",
    [
      { jsonPath: "$.a", stringValue: "x" },
      { jsonPath: "$.a", stringValue: "y" },
    ],
    '{"a":"y"}',
  ],
  [
    "objects and lists",
    [
      { jsonPath: "$.a.b[0].c", numberValue: 1 },
      { jsonPath: "$.a.b[1].c", numberValue: 2 },
    ],
    '{"a":{"b":[{"c":1},{"c":2}]}}',
  ],
  [
    "names in quotes",
    [
      { jsonPath: "$['a.b'][\"c\"]", numberValue: 1 },
      { jsonPath: "$['0']['it\\'s']", numberValue: 2 },
    ],
    '{"0":{"it\'s":2},"a.b":{"c":1}}',
  ],
  ["a name that JavaScript knows", [{ jsonPath: "$.__proto__.x", numberValue: 1 }], '{"__proto__":{"x":1}}'],
])("%s", (_, pieces, json) => {
  expect(put(...pieces)).toEqual({ isGood: true, json });
});

test.each<[string, unknown[]]>([
  ["no object", ["a"]],
  ["no path", [{ stringValue: "a" }]],
  ["the whole", [{ jsonPath: "$", stringValue: "a" }]],
  ["many places", [{ jsonPath: "$.a[*]", stringValue: "a" }]],
  ["no value", [{ jsonPath: "$.a" }]],
  ["a gap in a list", [{ jsonPath: "$.a[5]", numberValue: 1 }]],
  [
    "a name in a list",
    [
      { jsonPath: "$.a[0]", numberValue: 1 },
      { jsonPath: "$.a.b", numberValue: 1 },
    ],
  ],
  [
    "inside a number",
    [
      { jsonPath: "$.a", numberValue: 1 },
      { jsonPath: "$.a.b", numberValue: 1 },
    ],
  ],
])("refused: %s", (_, pieces) => {
  expect(put(...pieces).isGood).toBe(false);
});
