import type { VendorName } from "../vendors/kinds.ts";
import { type ClientName, clientNames } from "./clients.ts";
import { raisedErrors, type RaisedWords } from "./expected/errors.ts";
import { type Expected, expectedOf } from "./expected/outcomes.ts";
import { type FeatureName, featureNames } from "./features.ts";
import { vendorNames } from "./setting.ts";

/** Cells that have come out as they must. */
export interface Passed {
  has(client: ClientName, vendor: VendorName, feature: FeatureName): boolean;
  add(client: ClientName, vendor: VendorName, feature: FeatureName): void;
}

export function createPassed(): Passed {
  const keys = new Set<string>();
  const keyOf = (...cell: readonly string[]) => cell.join("\n");
  return {
    has: (...cell) => keys.has(keyOf(...cell)),
    add: (...cell) => void keys.add(keyOf(...cell)),
  };
}

/** The matrix as docs/dialects/matrix.md has it. Pure. */
export function renderPage(passed: Passed): string {
  const notes: string[] = [];
  const tables = clientNames.map((client) => renderTable(client, passed, notes));
  return `${[
    intro,
    ...tables,
    "## Notes",
    notes.map((note, index) => `${index + 1}. ${note}`).join("\n"),
    "## What libraries raise",
    errorsIntro,
    renderErrors(),
  ].join("\n\n")}\n`;
}

const intro = `# Every library before every dialect

Official libraries drive a whole gateway, behind which simulated vendors answer in their own dialects: each cell below is a test of
\`test/conformance/matrix\`, most of them for answers that are read whole and for streams. The page is written by that test
(\`WEIR_WRITE_MATRIX=1\`), which fails when the page says anything else than what it found.

\`yes\`: everything arrives at both ends, and the gateway reports nothing left out. A number names the note below that tells what is left
out, refused, or not there to be asked for.

| column | what holds |
| --- | --- |
| text, stream | the words, in pieces where the answer is a stream, and why it ended |
| tool call, parallel calls | declarations reach the vendor, schemas included; calls reach the user, one without arguments among them |
| demanded call | the vendor is told that a tool must be called |
| tool results | results reach the vendor under the ids of their calls, after the turn that made them |
| image in, JSON schema | the same bytes, the same schema |
| several replies | two replies to one question |
| reasoning | an effort reaches the vendor, what was thought reaches the user |
| reasoning back | what proves the vendor's reasoning, and its ids, come back to it with the result of a call |
| cache mark | a mark for the prompt cache behind the instructions |
| error before | errors of the vendor are raised as the last table says |
| error after content | a reset, a stream that is too short and an error event are all raised, never taken for an end |
| abort | the vendor's connection closes within a second |
| usage | the vendor's counts, in the library's convention; the ledger has them too |`;

const errorsIntro = `Class, status and words (type, code and param with OpenAI's libraries, type with Anthropic's, status with Google's, whether to try again with the
AI SDK) of what users get when the vendor answers 429 (and wants to be asked again after 7 seconds), 500 or 400, and when the target cannot express what was asked for.
A vendor's own text reaches users only with its 400, and only those whose library speaks its dialect.`;

function renderTable(client: ClientName, passed: Passed, notes: string[]): string {
  const rows = vendorNames.map((vendor) => {
    const cells = featureNames.map((feature) => {
      const expected = expectedOf(client, vendor, feature);
      if (expected.kind !== "none" && !passed.has(client, vendor, feature)) return "FAILS";
      return renderCell(expected, notes);
    });
    return row([vendor, ...cells]);
  });
  return [
    `## ${client}`,
    [row(["", ...featureNames]), row(["---", ...featureNames.map(() => "---")]), ...rows].join("\n"),
  ].join("\n\n");
}

function renderCell(expected: Expected, notes: string[]): string {
  switch (expected.kind) {
    case "answered":
      if (expected.warnings === "") return "yes";
      return `${expected.carried ? "yes" : "left out"} ${noteOf(`\`x-weir-warnings: ${expected.warnings}\``, notes)}`;
    case "refused":
      return `refused ${noteOf(`${expected.text} (${words(expected.raised)})`, notes)}`;
    case "none":
      return noteOf(expected.why, notes);
  }
}

function noteOf(note: string, notes: string[]): string {
  if (!notes.includes(note)) notes.push(note);
  return String(notes.indexOf(note) + 1);
}

function renderErrors(): string {
  const columns = ["429", "500", "400, another dialect", "400, the same dialect", "not expressible (`n`)"];
  const rows = clientNames.map((client) => {
    const { limited, failed, rejected, rejectedByOwn, unsupported } = raisedErrors[client];
    return row([client, ...[limited, failed, rejected, rejectedByOwn, unsupported("n")].map(words)]);
  });
  return [row(["", ...columns]), row(["---", ...columns.map(() => "---")]), ...rows].join("\n");
}

function words({ name, status, words: said = [], retryAfter }: RaisedWords): string {
  const told = said.map((word) => (typeof word === "string" ? word : JSON.stringify(word))).join(", ");
  return `\`${name}\` ${status}: ${told}${retryAfter === undefined ? "" : `; after ${retryAfter.replace("s", "")} s`}`;
}

function row(cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}
