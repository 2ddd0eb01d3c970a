import { type ConfigFault, pathOf } from "./fault.ts";

/** Where the values of `${NAME}` and `file:PATH` come from. */
export interface ValueSources {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Reads a file as text. Its path is as written. What it throws is taken for "cannot be read". */
  readonly readFile: (path: string) => string;
}

/** A tree of plain values with every reference replaced. */
export interface Interpolated {
  readonly value: unknown;
  readonly faults: readonly ConfigFault[];
  /** Paths that `file:` named, as written. */
  readonly files: readonly string[];
}

/** Deeper trees are no configuration. */
const depthMax = 32;

/**
 * Replaces `${NAME}` in every string by an environment variable, and a string `file:PATH` by that file's content without
 * its last line break. `$${` stands for `${` itself. What a reference brings in is text: it is not looked into again.
 * Keys of maps stay as they are. A variable that is absent or empty, and a file that cannot be read, are faults.
 */
export function interpolate(tree: unknown, sources: ValueSources): Interpolated {
  const faults: ConfigFault[] = [];
  const files: string[] = [];

  const replaceVariables = (text: string, path: string): string =>
    text.replaceAll(/\$\$\{|\$\{([^}]*)\}?/g, (whole: string, name: string | undefined) => {
      if (whole === "$${") return "${";
      if (name === undefined || !whole.endsWith("}") || !/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
        faults.push({
          path,
          text: "`${` must be followed by a variable's name and `}`; write `$${` for the characters",
        });
        return "";
      }
      const value = sources.env[name];
      if (value === undefined || value === "") {
        faults.push({ path, text: `the environment variable ${name} is not set` });
        return "";
      }
      return value;
    });

  const replaceText = (text: string, path: string): string => {
    if (!text.startsWith("file:")) return text.includes("${") ? replaceVariables(text, path) : text;
    const file = replaceVariables(text.slice("file:".length).trim(), path);
    if (file === "") return "";
    files.push(file);
    try {
      return sources.readFile(file).replace(/\r?\n$/, "");
    } catch (error) {
      const code = error instanceof Error && "code" in error ? ` (${String(error.code)})` : "";
      faults.push({ path, text: `the file ${file} cannot be read${code}` });
      return "";
    }
  };

  const replace = (value: unknown, path: string, depth: number): unknown => {
    if (typeof value === "string") return replaceText(value, path);
    if (typeof value !== "object" || value === null) return value;
    if (depth > depthMax) {
      faults.push({ path, text: `nested more than ${depthMax} levels deep` });
      return undefined;
    }
    if (Array.isArray(value)) return value.map((item, index) => replace(item, `${path}[${index}]`, depth + 1));
    return Object.fromEntries(
      Object.entries(value).map(([name, item]) => [name, replace(item, pathOf(path, name), depth + 1)]),
    );
  };

  return { value: replace(tree, "", 0), faults, files };
}
