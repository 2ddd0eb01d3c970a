/** Something in a configuration that cannot be used. */
export interface ConfigFault {
  /** Where: `aliases.gpt-4o.targets[0].provider`; empty for the file as a whole. */
  readonly path: string;
  /** What is wrong and what to write instead. Never a value from the file, which may be a secret. */
  readonly text: string;
}

/** A configuration cannot be used. The message names every fault. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly source: string;
  readonly faults: readonly ConfigFault[];
  readonly files: readonly string[];

  /**
   * @param source name of the file, for the message
   * @param files paths of the files that were, or should have been, read: when one changes, another try may go well
   */
  constructor(source: string, faults: readonly ConfigFault[], files: readonly string[] = []) {
    const lines = faults.map(({ path, text }) => (path === "" ? `  ${text}` : `  ${path}: ${text}`));
    super(`${source} cannot be used:\n${lines.join("\n")}`);
    this.source = source;
    this.faults = faults;
    this.files = files;
  }
}

/** The path of a named part: `aliases.gpt-4o`, or `aliases["gpt-4.1"]` where a plain name would read as two. */
export function pathOf(parent: string, name: string): string {
  if (!/^[A-Za-z0-9_-]+$/.test(name)) return `${parent}[${JSON.stringify(name)}]`;
  return parent === "" ? name : `${parent}.${name}`;
}
