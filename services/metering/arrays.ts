/**
 * One column of the rows that a statement takes as arrays, one array for each column. `jsonb` is JSON text, `uuid` in
 * its usual form, `bytea` hexadecimal, `timestamptz` in microseconds since 1970.
 */
export type ArrayColumn<T> =
  | Column<T, "text" | "jsonb" | "uuid" | "bytea", string>
  | Column<T, "bool", boolean>
  | Column<T, "int4" | "timestamptz", number>
  | Column<T, "int8", number | bigint>;

interface Column<T, Type extends string, Value> {
  readonly name: string;
  readonly type: Type;
  readonly value: (row: T) => Value | null | undefined;
}

/** Bytes that grow. */
interface Output {
  bytes: Buffer;
  length: number;
}

/**
 * The parameters of `unnested`: each column as one array in Postgres' binary form, which is smaller than text and read
 * with less work on both sides. A batch travels as a few parameters, whatever its length. A column of nulls travels as null.
 * See `array_send` in https://github.com/postgres/postgres/blob/REL_15_STABLE/src/backend/utils/adt/arrayfuncs.c
 * @throws RangeError for a number that is no integer; what values say is not checked further
 */
export function arrayParameters<T>(columns: readonly ArrayColumn<T>[], rows: readonly T[]): (Buffer | null)[] {
  const out: Output = { bytes: Buffer.allocUnsafe(columns.length * (64 + rows.length * 20)), length: 0 };
  const ends = columns.map((column) => {
    writeArray(out, column, rows);
    return out.length;
  });
  return ends.map((end, index) => {
    const start = ends[index - 1] ?? 0;
    return start === end ? null : out.bytes.subarray(start, end);
  });
}

/**
 * `(select unnest($1::uuid[]) as attempt_id, unnest($2::text[]) as request_id) as t`: the rows in their order. Sets in
 * the select list advance together, shorter ones filled up with nulls, and need no table in between, unlike `unnest` of
 * many arrays after `from`. See https://www.postgresql.org/docs/15/xfunc-sql.html#XFUNC-SQL-FUNCTIONS-RETURNING-SET
 */
export function unnested<T>(columns: readonly ArrayColumn<T>[], alias: string): string {
  const sets = columns.map(({ name, type }, index) => `unnest($${index + 1}::${type}[]) as ${name}`);
  return `(select ${sets.join(", ")}) as ${alias}`;
}

/** See https://github.com/postgres/postgres/blob/REL_15_STABLE/src/include/catalog/pg_type.dat */
const typeIds: Readonly<Record<ArrayColumn<never>["type"], number>> = {
  bool: 16,
  bytea: 17,
  int8: 20,
  int4: 23,
  text: 25,
  timestamptz: 1184,
  uuid: 2950,
  jsonb: 3802,
};

/** What a value takes at most that is no text. */
const fixedBytesMax = 20;

/** Writes nothing when all values are null. */
function writeArray<T>(out: Output, column: ArrayColumn<T>, rows: readonly T[]): void {
  const start = out.length;
  reserve(out, fixedBytesMax);
  writeInt32(out, 1); // dimensions
  writeInt32(out, 1); // there may be nulls
  writeInt32(out, typeIds[column.type]);
  writeInt32(out, rows.length);
  writeInt32(out, 1); // the first index
  let nullCount = 0;
  for (const row of rows) {
    reserve(out, fixedBytesMax);
    const value = column.value(row);
    if (value !== null && value !== undefined) writeValue(out, column, value);
    else {
      writeInt32(out, -1);
      nullCount++;
    }
  }
  if (nullCount === rows.length) out.length = start;
}

function writeValue<T>(out: Output, column: ArrayColumn<T>, value: string | number | bigint | boolean): void {
  if (typeof value === "string") writeString(out, column.type, value);
  else if (typeof value === "boolean") {
    writeInt32(out, 1);
    out.bytes[out.length++] = value ? 1 : 0;
  } else if (typeof value === "bigint") {
    writeInt32(out, 8);
    out.length = out.bytes.writeBigInt64BE(value, out.length);
  } else if (!Number.isSafeInteger(value)) {
    throw new RangeError(`${column.name} is no integer`);
  } else if (column.type === "int4") {
    writeInt32(out, 4);
    writeInt32(out, value);
  } else {
    writeInt32(out, 8);
    writeInt64(out, column.type === "timestamptz" ? value - year2000Us : value);
  }
}

/** Postgres counts from there. */
const year2000Us = Date.UTC(2000, 0, 1) * 1000;

function writeString(out: Output, type: ArrayColumn<never>["type"], value: string): void {
  if (type === "uuid" || type === "bytea") writeHex(out, value);
  else writeText(out, type === "jsonb" ? `\x01${value}` : value); // 1: the version of jsonb's form
}

function writeText(out: Output, text: string): void {
  // UTF-16 units become three bytes at most.
  reserve(out, 4 + text.length * 3);
  const length = out.bytes.write(text, out.length + 4);
  writeInt32(out, length);
  out.length += length;
}

/** Pairs of digits; the dashes of a UUID count for nothing. */
function writeHex(out: Output, text: string): void {
  reserve(out, 4 + text.length);
  const { bytes, length } = out;
  let at = length + 4;
  for (let index = 0; index < text.length; index += 2) {
    if (text.charCodeAt(index) === dash) index++;
    bytes[at++] = (digit(text.charCodeAt(index)) << 4) | digit(text.charCodeAt(index + 1));
  }
  writeInt32(out, at - length - 4);
  out.length = at;
}

const dash = 0x2d;

/** Either case. */
function digit(code: number): number {
  return code <= 0x39 ? code - 0x30 : (code | 0x20) - 0x57;
}

function writeInt32(out: Output, value: number): void {
  const { bytes, length } = out;
  bytes[length] = value >>> 24;
  bytes[length + 1] = value >>> 16;
  bytes[length + 2] = value >>> 8;
  bytes[length + 3] = value;
  out.length = length + 4;
}

function writeInt64(out: Output, value: number): void {
  writeInt32(out, Math.floor(value / 2 ** 32));
  writeInt32(out, value);
}

function reserve(out: Output, count: number): void {
  if (out.length + count <= out.bytes.length) return;
  const grown = Buffer.allocUnsafe(2 * (out.length + count));
  out.bytes.copy(grown, 0, 0, out.length);
  out.bytes = grown;
}
