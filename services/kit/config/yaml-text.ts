import { LineCounter, parseDocument } from "yaml";
import type { ConfigFault } from "./fault.ts";

/** Plain values of a YAML text; JSON is one. Faults name lines, never what stands there. */
export function parseYaml(text: string): { value: unknown; faults: readonly ConfigFault[] } {
  const lines = new LineCounter();
  // Messages with a piece of the text could show a secret: prettyErrors is off, positions come from the counter.
  const document = parseDocument(text, {
    prettyErrors: false,
    lineCounter: lines,
    uniqueKeys: true,
    logLevel: "silent",
  });
  const faults = [...document.errors, ...document.warnings].map((error) => {
    const { line, col } = lines.linePos(error.pos[0]);
    return { path: "", text: `line ${line}, column ${col}: not valid YAML (${error.code})` };
  });
  if (faults.length > 0) return { value: undefined, faults };
  try {
    return { value: document.toJS({ maxAliasCount: 64 }), faults };
  } catch {
    return {
      value: undefined,
      faults: [{ path: "", text: "an alias (`*name`) has no anchor, or there are too many of them" }],
    };
  }
}
