/** One column of a table for a terminal. */
export interface Column<T> {
  readonly title: string;
  readonly text: (row: T) => string;
  /** Numbers stand at the right. Default left. */
  readonly align?: "left" | "right";
}

/** Rows as aligned text, under a line of titles, with a line break at the end of each line. */
export function renderTable<T>(rows: readonly T[], columns: readonly Column<T>[]): string {
  const cells = rows.map((row) => columns.map((column) => printable(column.text(row))));
  const widths = columns.map((column, index) =>
    Math.max(column.title.length, ...cells.map((line) => line[index]?.length ?? 0)),
  );
  const render = (line: readonly string[]): string =>
    `${line
      .map((text, index) => {
        const width = widths[index] ?? 0;
        return columns[index]?.align === "right" ? text.padStart(width) : text.padEnd(width);
      })
      .join("  ")
      .trimEnd()}\n`;
  return [columns.map((column) => column.title), ...cells].map(render).join("");
}

/** Names come from callers: what would steer the terminal is left out. */
function printable(text: string): string {
  return text.replaceAll(/\p{C}/gu, "\u{fffd}");
}

/** Nano-USD as USD with at least two and at most nine decimals: `0.00125`. */
export function usdText(nanoUsd: bigint): string {
  const [sign, amount] = nanoUsd < 0n ? ["-", -nanoUsd] : ["", nanoUsd];
  const decimals = String(amount % 1_000_000_000n)
    .padStart(9, "0")
    .replace(/0{1,7}$/, "");
  return `${sign}${amount / 1_000_000_000n}.${decimals}`;
}
