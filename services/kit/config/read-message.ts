import {
  type DescEnum,
  type DescField,
  type DescMessage,
  type JsonObject,
  type JsonValue,
  ScalarType,
} from "@bufbuild/protobuf";
import { type ConfigFault, pathOf } from "./fault.ts";
import { nearestName } from "./nearest.ts";

/** The JSON of a message as far as it could be read, and everything that could not. */
export interface MessageRead {
  /** In proto JSON; fields with faults are left out. */
  readonly json: JsonObject;
  readonly faults: readonly ConfigFault[];
}

/**
 * Reads plain values as a message, strictly: an unknown name is a fault. Names may be in snake_case or lowerCamelCase,
 * enum values also without their prefix and in lower case (`openai`), durations as `10s`, `250ms`, `5m` or `1h`,
 * timestamps also as a day (`2026-11-21`, midnight UTC), numbers and booleans also as text, which is what interpolation
 * brings. A value of null counts as absent.
 */
export function readMessage(desc: DescMessage, value: unknown): MessageRead {
  const faults: ConfigFault[] = [];
  const json = readObject(desc, value, "", faults);
  return { json: json ?? {}, faults };
}

function readObject(desc: DescMessage, value: unknown, path: string, faults: ConfigFault[]): JsonObject | undefined {
  if (!isObject(value)) {
    faults.push({ path, text: `expected named values, not ${kindOf(value)}` });
    return undefined;
  }
  const entries: [string, JsonValue][] = [];
  const seen = new Set<string>();
  for (const [name, item] of Object.entries(value)) {
    const field = desc.fields.find((known) => known.name === name || known.jsonName === name);
    const fieldPath = pathOf(path, name);
    if (field === undefined) {
      const near = nearestName(
        name,
        desc.fields.map((known) => known.name),
      );
      const names = desc.fields.map((known) => known.name).join(", ");
      faults.push({
        path: fieldPath,
        text: `no such name here; ${nameHint(name) ?? (near ? `did you mean ${near}?` : `known: ${names}`)}`,
      });
      continue;
    }
    if (seen.has(field.name)) {
      faults.push({ path: fieldPath, text: `${field.name} is given twice, in two spellings` });
      continue;
    }
    seen.add(field.name);
    if (item === null || item === undefined) continue;
    const read = readField(field, item, fieldPath, faults);
    if (read !== undefined) entries.push([field.jsonName, read]);
  }
  return Object.fromEntries(entries);
}

function readField(field: DescField, value: unknown, path: string, faults: ConfigFault[]): JsonValue | undefined {
  switch (field.fieldKind) {
    case "scalar":
      return readScalar(field.scalar, value, path, faults);
    case "enum":
      return readEnum(field.enum, value, path, faults);
    case "message":
      return readValue(field.message, value, path, faults);
    case "list": {
      if (!Array.isArray(value)) {
        faults.push({ path, text: `expected a list, not ${kindOf(value)}` });
        return undefined;
      }
      return value.flatMap((item: unknown, index) => {
        const read = readItem(field, item, `${path}[${index}]`, faults);
        return read === undefined ? [] : [read];
      });
    }
    case "map": {
      if (!isObject(value)) {
        faults.push({ path, text: `expected named values, not ${kindOf(value)}` });
        return undefined;
      }
      const entries: [string, JsonValue][] = [];
      for (const [name, item] of Object.entries(value)) {
        const itemPath = pathOf(path, name);
        // The generated type keeps maps in plain objects, where this name would replace the prototype.
        if (name === "__proto__") faults.push({ path: itemPath, text: "this name cannot be used" });
        else {
          const read = readItem(field, item, itemPath, faults);
          if (read !== undefined) entries.push([name, read]);
        }
      }
      return Object.fromEntries(entries);
    }
  }
}

type Container = DescField & { fieldKind: "list" | "map" };

function readItem(field: Container, value: unknown, path: string, faults: ConfigFault[]): JsonValue | undefined {
  if (field.message !== undefined) return readValue(field.message, value ?? {}, path, faults);
  if (field.enum !== undefined) return readEnum(field.enum, value, path, faults);
  return readScalar(field.scalar, value, path, faults);
}

function readValue(desc: DescMessage, value: unknown, path: string, faults: ConfigFault[]): JsonValue | undefined {
  switch (desc.typeName) {
    case "google.protobuf.Duration":
      return readDuration(value, path, faults);
    case "google.protobuf.Timestamp":
      return readTimestamp(value, path, faults);
    default:
      return readObject(desc, value, path, faults);
  }
}

const unitsMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

const durationMsMax = 3_650 * 86_400_000;

function readDuration(value: unknown, path: string, faults: ConfigFault[]): string | undefined {
  const [, amount, unit] = (typeof value === "string" && /^(\d{1,9}(?:\.\d{1,6})?)\s*(ms|s|m|h|d)$/.exec(value)) || [];
  if (amount !== undefined && unit !== undefined && Number(amount) * (unitsMs[unit] ?? Number.NaN) <= durationMsMax) {
    const nanos = BigInt(Math.round(Number(amount) * (unitsMs[unit] ?? Number.NaN) * 1_000_000));
    return `${nanos / 1_000_000_000n}.${String(nanos % 1_000_000_000n).padStart(9, "0")}s`;
  }
  if (value === 0 || value === "0") return "0s";
  faults.push({ path, text: "expected a time with its unit: 250ms, 10s, 5m, 1h; at most 3650d" });
  return undefined;
}

function readTimestamp(value: unknown, path: string, faults: ConfigFault[]): string | undefined {
  if (typeof value === "string") {
    const text = /^\d{4}-\d{2}-\d{2}$/.test(value) ? `${value}T00:00:00Z` : value;
    const full = /^[12]\d{3}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})$/.test(text);
    // Date.parse takes 31 February for 3 March; the day must come back as it went in.
    const day = text.slice(0, 10);
    if (full && new Date(`${day}T00:00:00Z`).toJSON()?.startsWith(day) && !Number.isNaN(Date.parse(text))) return text;
  }
  faults.push({ path, text: "expected a time such as 2026-11-21T10:00:00Z, or a day such as 2026-11-21" });
  return undefined;
}

function readEnum(desc: DescEnum, value: unknown, path: string, faults: ConfigFault[]): string | undefined {
  const known = desc.values.filter((item) => item.number !== 0);
  const shortOf = (name: string) => name.slice(desc.sharedPrefix?.length ?? 0).toLowerCase();
  const found = known.find((item) => item.name === value || shortOf(item.name) === value);
  if (found !== undefined) return found.name;
  faults.push({ path, text: `expected one of ${known.map((item) => shortOf(item.name)).join(", ")}` });
  return undefined;
}

function readScalar(type: ScalarType, value: unknown, path: string, faults: ConfigFault[]): JsonValue | undefined {
  if (type === ScalarType.STRING) {
    if (typeof value === "string") return value;
    const hint = typeof value === "number" || typeof value === "boolean" ? "; put it in quotes" : "";
    faults.push({ path, text: `expected text, not ${kindOf(value)}${hint}` });
    return undefined;
  }
  if (type === ScalarType.BOOL) {
    if (typeof value === "boolean") return value;
    if (value === "true" || value === "false") return value === "true";
    faults.push({ path, text: `expected true or false, not ${kindOf(value)}` });
    return undefined;
  }
  const range = ranges[type];
  if (range === undefined) throw new Error(`configuration has no fields of type ${ScalarType[type]}`);
  const number = typeof value === "string" && /^\d{1,15}$/.test(value) ? Number(value) : value;
  if (typeof number === "number" && Number.isSafeInteger(number) && number >= range[0] && number <= range[1])
    return number;
  faults.push({ path, text: `expected a whole number from ${range[0]} to ${range[1]}` });
  return undefined;
}

const ranges: Readonly<Partial<Record<ScalarType, readonly [number, number]>>> = {
  [ScalarType.UINT32]: [0, 4_294_967_295],
  [ScalarType.INT32]: [-2_147_483_648, 2_147_483_647],
  [ScalarType.UINT64]: [0, Number.MAX_SAFE_INTEGER],
};

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "named values";
  return typeof value === "string" ? "text" : typeof value === "number" ? "a number" : "true or false";
}

/** What somebody who writes a name that exists nowhere most likely wants to hear. */
function nameHint(name: string): string | undefined {
  return name === "currency" ? "amounts are USD: convert them, and leave `currency` out" : undefined;
}
