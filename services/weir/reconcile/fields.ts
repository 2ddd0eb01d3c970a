import { ExportError } from "./usage-row.ts";

/** JSON's object. */
export type Fields = Readonly<Record<string, unknown>>;

export function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @throws ExportError that says where it stands, for anything but an object */
export function fieldsOf(value: unknown, where: string): Fields {
  if (!isFields(value)) throw new ExportError(`${where}: expected an object`);
  return value;
}

/** @throws ExportError for anything but a list */
export function listOf(fields: Fields, name: string, where: string): readonly unknown[] {
  const value = fields[name];
  if (!Array.isArray(value)) throw new ExportError(`${where}: expected a list under \`${name}\``);
  return value;
}

/** @throws ExportError for anything but a text that is not empty */
export function textOf(fields: Fields, name: string, where: string): string {
  const value = fields[name];
  if (typeof value !== "string" || value === "") throw new ExportError(`${where}: expected a text as \`${name}\``);
  return value;
}

/**
 * A count: a whole number, or one as decimal text. Null is not told.
 * @throws ExportError for anything else, and for numbers beyond what JSON holds exactly
 */
export function countOf(fields: Fields, name: string, where: string): bigint | undefined {
  const value = fields[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return BigInt(value);
  if (typeof value === "string" && /^\d{1,18}$/.test(value)) return BigInt(value);
  throw new ExportError(`${where}: expected a whole number as \`${name}\``);
}

/** @throws ExportError also when it is not there */
export function countThere(fields: Fields, name: string, where: string): bigint {
  const count = countOf(fields, name, where);
  if (count === undefined) throw new ExportError(`${where}: \`${name}\` is missing`);
  return count;
}

/** @throws ExportError for anything but a day of the calendar, `2026-11-21` */
export function dayOf(fields: Fields, name: string, where: string): string {
  const text = fields[name];
  if (typeof text === "string" && isDay(text)) return text;
  throw new ExportError(`${where}: expected a day such as 2026-11-21 as \`${name}\``);
}

/** Whether a text is a day of the calendar, `2026-11-21`. */
export function isDay(text: string): boolean {
  if (!/^\d{4}-\d{2}-\d{2}$/.test(text)) return false;
  const timeMs = Date.parse(text);
  // Date.parse takes 31 February for 3 March.
  return !Number.isNaN(timeMs) && dayAt(timeMs) === text;
}

/** UTC day of a time in milliseconds since 1970. */
export function dayAt(timeMs: number): string {
  return new Date(timeMs).toISOString().slice(0, 10);
}

/** `2026-11-22` after `2026-11-21`. */
export function dayAfter(day: string): string {
  return dayAt(Date.parse(day) + dayMs);
}

const dayMs = 86_400_000;

/** The buckets of pages, and where each stands. @throws ExportError when pages behind the last one are missing */
export function bucketsOf(pages: readonly Fields[]): readonly { readonly bucket: Fields; readonly where: string }[] {
  if (pages.at(-1)?.["has_more"] === true) {
    throw new ExportError("the export goes on behind the last page (`has_more`); put all pages into one JSON list");
  }
  return pages.flatMap((page, pageIndex) =>
    listOf(page, "data", `page ${pageIndex + 1}`).map((value, index) => {
      const where = `page ${pageIndex + 1}, bucket ${index + 1}`;
      return { bucket: fieldsOf(value, where), where };
    }),
  );
}

/**
 * The one UTC day in which a bucket lies.
 * @throws ExportError when it lies in more, since what it counts cannot be told apart by day
 */
export function dayOfBucket(startMs: number, endMs: number, where: string): string {
  // Beyond these no Date is.
  const known = startMs >= 0 && endMs > startMs && endMs <= Date.UTC(9999, 11, 31);
  if (!known) throw new ExportError(`${where}: expected a time at which it starts, and a later one at which it ends`);
  const day = dayAt(startMs);
  if (dayAt(endMs - 1) !== day) throw new ExportError(`${where}: it is no part of one UTC day; export days or hours`);
  return day;
}
