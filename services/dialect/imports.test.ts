import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { expect, test } from "vitest";

/** Folders of what several dialects share, which any may import; `testing` imports them all. */
const shared: ReadonlySet<string> = new Set([".", "claude", "framing", "openai", "sse", "testing"]);

/** Dialects that are built on another one, and the other one. */
const builtOn: Readonly<Record<string, readonly string[]>> = {
  embeddings: ["bedrock-converse", "gemini", "ollama", "openai-chat", "openai-completions"],
  "weir-generate": ["openai-completions"],
};

const files = readdirSync(import.meta.dirname, { recursive: true, encoding: "utf8" }).filter((name) =>
  name.endsWith(".ts"),
);

/** Names of the folder that a file stands in, and of the one that an import of it leads to. */
function* imports(): Generator<readonly [file: string, from: string, to: string]> {
  for (const file of files) {
    const text = readFileSync(join(import.meta.dirname, file), "utf8");
    for (const [, path = ""] of text.matchAll(/ from "(\.[^"]+)"/g)) {
      yield [file, topOf(file), topOf(relative(".", join(dirname(file), path)))];
    }
  }
}

function topOf(file: string): string {
  return file.includes("/") ? file.slice(0, file.indexOf("/")) : ".";
}

test("no dialect imports from another one's folder, but from the one that it is built on", () => {
  const found = [...imports()];
  expect(found.length).toBeGreaterThan(500);
  const foreign = found.filter(
    ([, from, to]) => from !== to && from !== "testing" && !shared.has(to) && !(builtOn[from] ?? []).includes(to),
  );
  expect(foreign).toEqual([]);
});
