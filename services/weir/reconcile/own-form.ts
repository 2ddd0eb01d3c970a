import { nanoUsdFromText } from "@weir/price/decimal";
import { csvRows, ImportError } from "@weir/price/import-forms";
import { countOf, dayOf, type Fields, fieldsOf, textOf } from "./fields.ts";
import { ExportError, type UsageClass, type UsageExport, type UsageRow, usageClasses } from "./usage-row.ts";

const columns: readonly string[] = ["day", "model", ...usageClasses];

/** CSV (RFC 4180) with a line of names first; an empty cell is not told. @throws ExportError */
export function readOwnCsv(text: string): UsageExport {
  const [names, ...lines] = linesOf(text);
  if (names === undefined || !names.includes("day") || !names.includes("model")) {
    throw new ExportError("expected JSON, or CSV with a line of names first, `day` and `model` among them");
  }
  if (new Set(names).size !== names.length) throw new ExportError("the line of names has one twice");
  return readRows(
    lines.map((line, index) => {
      if (line.length !== names.length) throw new ExportError(`row ${index + 2} has another number of columns`);
      return Object.fromEntries(names.map((name, at) => [name, line[at] === "" ? null : line[at]]));
    }),
    2,
  );
}

/** A list of objects with the names of the columns. @throws ExportError */
export function readOwnJson(list: readonly unknown[]): UsageExport {
  return readRows(
    list.map((value, index) => fieldsOf(value, `row ${index + 1}`)),
    1,
  );
}

function readRows(entries: readonly Fields[], firstNumber: number): UsageExport {
  const classes = new Set<UsageClass>();
  const days = new Set<string>();
  const rows = entries.map((entry, index): UsageRow => {
    const where = `row ${index + firstNumber}`;
    const known = Object.keys(entry).every((name) => columns.includes(name));
    if (!known) {
      throw new ExportError(
        `${where} has a column that is not known; known: ${columns.join(", ")}. Amounts are USD; convert others first`,
      );
    }
    const counts: Partial<Record<UsageClass, bigint>> = {};
    for (const name of usageClasses) {
      const count = name === "cost_usd" ? moneyOf(entry, name, where) : countOf(entry, name, where);
      if (count === undefined) continue;
      counts[name] = count;
      classes.add(name);
    }
    const day = dayOf(entry, "day", where);
    days.add(day);
    return { day, model: textOf(entry, "model", where), counts };
  });
  if (classes.size === 0) throw new ExportError(`it counts nothing; expected some of ${usageClasses.join(", ")}`);
  return { form: "weir", rows, days: [...days], classes };
}

/** Nano-USD of decimal text; a number would have passed through a float. */
function moneyOf(fields: Fields, name: string, where: string): bigint | undefined {
  const value = fields[name];
  if (value === undefined || value === null) return undefined;
  try {
    if (typeof value === "string") return nanoUsdFromText(value);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  throw new ExportError(`${where}: expected USD as decimal text with at most nine decimals as \`${name}\``);
}

function linesOf(text: string): string[][] {
  try {
    return csvRows(text);
  } catch (error) {
    if (!(error instanceof ImportError)) throw error;
    throw new ExportError(error.message, { cause: error });
  }
}
