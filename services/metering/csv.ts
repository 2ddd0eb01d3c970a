/** One column of a table as CSV. */
export interface CsvColumn<T> {
  readonly name: string;
  /** Text is quoted where it must be; numbers are written as they are; null and undefined are empty. */
  readonly value: (row: T) => string | number | bigint | boolean | null | undefined;
}

/** The line of names. */
export function csvHeader<T>(columns: readonly CsvColumn<T>[]): string {
  return `${columns.map(({ name }) => name).join(",")}\r\n`;
}

/** A row as a line of RFC 4180, with its line break. */
export function csvLine<T>(columns: readonly CsvColumn<T>[], row: T): string {
  return `${columns.map(({ value }) => cell(value(row))).join(",")}\r\n`;
}

function cell(value: ReturnType<CsvColumn<never>["value"]>): string {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return String(value);
  // A spreadsheet would take it for a formula: https://owasp.org/www-community/attacks/CSV_Injection
  if (formulaStart.test(value)) return quoted(`'${value}`);
  return needsQuotes.test(value) ? quoted(value) : value;
}

/** Full-width forms count in some spreadsheets, too. */
const formulaStart = /^\s*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/;
const needsQuotes = /[",;\r\n]|^\s|\s$/;

function quoted(text: string): string {
  return `"${text.replaceAll('"', '""')}"`;
}

/** Nano-USD as USD with nine decimals. */
export function decimalUsd(nanoUsd: bigint | undefined): string | undefined {
  if (nanoUsd === undefined) return undefined;
  const digits = String(nanoUsd).padStart(10, "0");
  return `${digits.slice(0, -9)}.${digits.slice(-9)}`;
}
