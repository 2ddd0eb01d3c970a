import fc from "fast-check";
import { expect, test } from "vitest";
import { parseTemplate, type PathTemplate, TemplateError } from "./template.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1_000);

test("a template is read into segments, variables and a verb", () => {
  expect(parseTemplate("/v1/{book.name=shelves/*/books/**}:read")).toEqual({
    text: "/v1/{book.name=shelves/*/books/**}:read",
    segments: [
      { kind: "literal", text: "v1" },
      { kind: "literal", text: "shelves" },
      { kind: "one" },
      { kind: "literal", text: "books" },
      { kind: "rest" },
    ],
    verb: "read",
    variables: [{ fieldPath: "book.name", start: 1, end: 5, isMulti: true }],
  });
});

test.each([
  ["/v1/{var}", false],
  ["/v1/{var=*}", false],
  ["/v1/{var=**}", true],
  ["/v1/{var=foo/*}", true],
  ["/v1/{var=foo}", true],
])("of %s the variable has several segments: %s", (text, isMulti) => {
  expect(parseTemplate(text).variables[0]?.isMulti).toBe(isMulti);
});

test("{var} is {var=*}", () => {
  const { text: _, ...short } = parseTemplate("/v1/{var}/x");
  const { text: __, ...long } = parseTemplate("/v1/{var=*}/x");
  expect(short).toEqual(long);
});

test("texts are decoded", () => {
  expect(parseTemplate("/a%20b/c%2Fd:e%3A").segments).toEqual([
    { kind: "literal", text: "a b" },
    { kind: "literal", text: "c/d" },
  ]);
  expect(parseTemplate("/a%20b/c%2Fd:e%3A").verb).toBe("e:");
});

test.each([
  ["", "no `/` at offset 0"],
  ["v1", "no `/` at offset 0"],
  ["/", "no text of a segment at offset 1"],
  ["/v1/", "no text of a segment at offset 4"],
  ["//v1", "no text of a segment at offset 1"],
  ["/v1/**/x", "a segment after `**`, which must be the last, at offset 7"],
  ["/v1/{a=**}/x", "a segment after `**`, which must be the last, at offset 11"],
  ["/v1/{a=**/x}", "a segment after `**`, which must be the last, at offset 10"],
  ["/v1/{a={b}}", "a variable in a variable at offset 7"],
  ["/v1/{a=x/{b}}", "a variable in a variable at offset 9"],
  ["/v1/{a}/{a}", "a is bound a second time at offset 9"],
  ["/v1/{a", "no `}` at offset 6"],
  ["/v1/{}", "no field path at offset 5"],
  ["/v1/{1a}", "no field path at offset 5"],
  ["/v1/{a.}", "no `}` at offset 6"],
  ["/v1/{a=}", "no text of a segment at offset 7"],
  ["/v1/x{a}", "a character that cannot stand here at offset 5"],
  ["/v1/{a}x", "a character that cannot stand here at offset 7"],
  ["/v1/***", "a character that cannot stand here at offset 6"],
  ["/v1/a*", "a character that cannot stand here at offset 5"],
  ["/v1/a b", "a character that cannot stand here at offset 5"],
  ["/v1/a?b", "a character that cannot stand here at offset 5"],
  ["/v1/a%2", "a character that cannot stand here at offset 5"],
  ["/v1/%ff", "a segment that is not UTF-8 once it is decoded at offset 7"],
  ["/v1:", "no text of a verb at offset 4"],
  ["/v1:a:b", "a character that cannot stand here at offset 5"],
  ["/v1:a/b", "a character that cannot stand here at offset 5"],
  ["/v1/{a:b}", "no `}` at offset 6"],
])("%j is refused with the place of its fault", (text, fault) => {
  expect(() => parseTemplate(text)).toThrow(
    new TemplateError(text, Number(/\d+$/.exec(fault)?.[0]), fault.replace(/ at offset \d+$/, "")),
  );
});

const literal = fc.stringMatching(/^[A-Za-z0-9._~!$&'()+,;=@-]{1,8}$/);
const segment = fc.oneof(literal, fc.constant("*"));
const segments = (min: number) =>
  fc.tuple(fc.array(segment, { minLength: min, maxLength: 3 }), fc.constantFrom("", "**")).map(([list, rest]) => ({
    list: rest === "" ? list : [...list, rest],
    isOpen: rest !== "",
  }));
const fieldPath = fc.stringMatching(/^[a-z_][a-z0-9_]{0,5}(\.[a-z_][a-z0-9_]{0,5}){0,2}$/);
const variable = fc.record({ fieldPath, value: fc.option(segments(1), { nil: undefined }) });

/** Templates of the grammar, built and not read. */
const templates = fc
  .record({
    parts: fc.array(fc.oneof(segment, variable), { minLength: 1, maxLength: 6 }),
    verb: fc.option(literal, { nil: "" }),
  })
  .map(({ parts, verb }) => {
    const names = new Set<string>();
    const texts: string[] = [];
    for (const part of parts) {
      if (typeof part === "string") {
        texts.push(part);
        continue;
      }
      if (names.has(part.fieldPath)) continue;
      names.add(part.fieldPath);
      texts.push(part.value === undefined ? `{${part.fieldPath}}` : `{${part.fieldPath}=${part.value.list.join("/")}}`);
      if (part.value?.isOpen) break;
    }
    return `/${texts.join("/")}${verb === "" ? "" : `:${verb}`}`;
  });

/** The text of a template, written from what was read of it. */
function write({ segments: list, variables, verb }: PathTemplate): string {
  let text = "";
  for (const [index, each] of list.entries()) {
    const opened = variables.find(({ start }) => start === index);
    text += "/";
    if (opened !== undefined) text += `{${opened.fieldPath}=`;
    text += each.kind === "literal" ? each.text : each.kind === "one" ? "*" : "**";
    if (variables.some(({ end }) => end === index + 1)) text += "}";
  }
  return verb === "" ? text : `${text}:${verb}`;
}

test("every text of the grammar is read, and comes back as it was written", () => {
  fc.assert(
    fc.property(templates, (text) => {
      expect(write(parseTemplate(text)).replaceAll(/=\*\}/g, "}")).toBe(text.replaceAll(/=\*\}/g, "}"));
    }),
    { numRuns },
  );
});

test("any other text is refused by TemplateError, and what is read is of the grammar", () => {
  const noise = fc.string({ unit: fc.constantFrom(..."/{}*=:.%2Fa1_ ?é\u0000"), maxLength: 24 });
  fc.assert(
    fc.property(
      fc.oneof(
        noise,
        fc.string(),
        templates.chain((text) => mutated(text)),
      ),
      (text) => {
        let read: PathTemplate | undefined;
        try {
          read = parseTemplate(text);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(TemplateError);
          return;
        }
        expect(text).toMatch(grammar);
        expect(read.segments.length).toBeGreaterThan(0);
        expect(read.segments.slice(0, -1).every(({ kind }) => kind !== "rest")).toBe(true);
      },
    ),
    { numRuns },
  );
});

/** A template with one character put in, taken out or changed. */
function mutated(text: string): fc.Arbitrary<string> {
  return fc
    .tuple(fc.nat(text.length), fc.nat(1), fc.constantFrom("", ..."/{}*=:.%a"))
    .map(([at, cut, put]) => text.slice(0, at) + put + text.slice(at + cut));
}

// The grammar as a regular expression, written apart from the reader.
const part = "(?:[A-Za-z0-9\\-._~!$&'()+,;=@]|%[0-9A-Fa-f]{2})+";
const plain = `(?:\\*\\*|\\*|${part})`;
const path = "[A-Za-z_]\\w*(?:\\.[A-Za-z_]\\w*)*";
const bound = `\\{${path}(?:=${plain}(?:/${plain})*)?\\}`;
const grammar = new RegExp(`^/(?:${plain}|${bound})(?:/(?:${plain}|${bound}))*(?::${part})?$`);
