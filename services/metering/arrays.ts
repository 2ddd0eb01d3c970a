/** One column of the rows that a statement takes as arrays, one array for each column. */
export interface ArrayColumn<T> {
  readonly name: string;
  /** Type of an element on the way in: `text`, `int8`. */
  readonly type: string;
  readonly value: (row: T) => string | number | bigint | boolean | null | undefined;
}

/**
 * Array literals for `unnest($1::uuid[], ...)`: a whole batch travels as a few strings, whatever its length.
 * See https://www.postgresql.org/docs/15/arrays.html#ARRAYS-IO
 */
export function arrayLiterals<T>(columns: readonly ArrayColumn<T>[], rows: readonly T[]): string[] {
  return columns.map((column) => {
    let text = "{";
    for (let index = 0; index < rows.length; index++) {
      if (index > 0) text += ",";
      text += elementText(column.value(rows[index] as T));
    }
    return `${text}}`;
  });
}

/** `unnest($1::uuid[], $2::text[]) as t(attempt_id, request_id)`, with parameters from `$first` on. */
export function unnested<T>(columns: readonly ArrayColumn<T>[], first: number, alias: string): string {
  const parameters = columns.map((column, index) => `$${first + index}::${column.type}[]`);
  return `unnest(${parameters.join(", ")}) as ${alias}(${columns.map((column) => column.name).join(", ")})`;
}

function elementText(value: string | number | bigint | boolean | null | undefined): string {
  if (value === null || value === undefined) return "NULL";
  if (typeof value !== "string") return String(value);
  return special.test(value) ? `"${value.replace(/["\\]/g, "\\$&")}"` : `"${value}"`;
}

const special = /["\\]/;
