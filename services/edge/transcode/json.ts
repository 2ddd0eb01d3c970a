import type { JsonObject, JsonValue } from "@bufbuild/protobuf";
import { stringEnd } from "@weir/dialect/json";
import { parseJson, type ReviverContext } from "@weir/dialect/parse-json";
import { invalid } from "./faults.ts";

/** Deepest nesting of a body; messages are read no deeper either. */
const depthMax = 100;
/** Most values of a body: building a message of more takes longer than others should wait. */
const valuesMax = 1_000_000;

/**
 * A number whose text says more than a double can hold: its text, so that 64-bit integers may be written as numbers without loss.
 */
export class LongNumber {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** JSON in which a number may be a {@link LongNumber}. */
export type ExactJson = JsonValue | LongNumber;

/**
 * Parses JSON strictly.
 * @throws WeirError INVALID_REQUEST when the text is no JSON, nests deeper than 100 levels, has more than a million values, or two
 *   members of one name in one object, with the path of the second as `param`
 */
export function parseStrict(text: string): ExactJson {
  const { excess, doubled, hasLongNumber } = scan(text);
  // Before the parse, which would build it.
  if (excess !== undefined) throw invalid(`The body ${excess}.`);
  let json: ExactJson;
  try {
    json = parseJson(text, hasLongNumber ? keepLong : undefined) as ExactJson;
  } catch {
    throw invalid("The body is not JSON.");
  }
  if (doubled !== undefined) {
    throw invalid(
      doubled === "" ? "A member stands more than once." : `\`${doubled}\` stands more than once.`,
      doubled,
    );
  }
  return json;
}

/**
 * Refuses a text that is too much to be built, for parsers of others that build whatever they are given.
 * @throws WeirError INVALID_REQUEST when it nests deeper than 100 levels, or has more than a million values
 */
export function checkExtent(text: string): void {
  const { excess } = scan(text);
  if (excess !== undefined) throw invalid(`The body ${excess}.`);
}

export function isObject(json: ExactJson | undefined): json is JsonObject {
  return typeof json === "object" && json !== null && !Array.isArray(json) && !(json instanceof LongNumber);
}

/** Sets a member, also one that is named `__proto__`. */
export function put(json: JsonObject, name: string, value: JsonValue): void {
  Object.defineProperty(json, name, { value, enumerable: true, writable: true, configurable: true });
}

/** What a member's name of a JSON object stands for in a path; a name that is no word is not told. */
export function pathOf(names: readonly (string | number)[]): string {
  let path = "";
  for (const name of names) {
    if (typeof name === "number") path += `[${name}]`;
    else if (!wordShape.test(name)) return path;
    else path += path === "" ? name : `.${name}`;
  }
  return path;
}

const wordShape = /^\w{1,64}$/;

function keepLong(_name: string, value: unknown, { source = "" }: ReviverContext): unknown {
  return typeof value === "number" && isLong(value) ? new LongNumber(source) : value;
}

/** Whether a number may have lost something when it became a double. */
function isLong(value: number): boolean {
  return !Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value));
}

/** Numbers of more characters may be more than a double holds: 2^53 has 16 digits. */
const plainLength = 15;

/** What a walk over a text found; of a text that is not JSON anything. */
interface Scan {
  /** What there is too much of; the walk stopped there. */
  readonly excess: string | undefined;
  /** Path of the first member whose name its object has already; it may be empty. */
  readonly doubled: string | undefined;
  /** Whether there may be a number that is more than a double holds. */
  readonly hasLongNumber: boolean;
}

/** An object or a list that the walk is in. */
interface Level {
  /** Names of the object so far; undefined: it is a list. */
  readonly names: Set<string> | undefined;
  /** The name or index of where the walk is. */
  at: string | number;
}

const open = { object: 0x7b, list: 0x5b } as const;

/** One walk, in linear time. */
function scan(text: string): Scan {
  const levels: Level[] = [];
  let level: Level | undefined;
  let hasLongNumber = false;
  let doubled: string | undefined;
  let isName = false;
  let values = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    switch (code) {
      case open.object:
      case open.list:
        isName = code === open.object;
        level = isName ? { names: new Set(), at: "" } : { names: undefined, at: 0 };
        levels.push(level);
        if (levels.length > depthMax) {
          return { excess: `nests deeper than ${depthMax} levels`, doubled, hasLongNumber };
        }
        break;
      case 0x7d: // }
      case 0x5d: // ]
        levels.pop();
        level = levels.at(-1);
        isName = false;
        break;
      case 0x2c: // ,
        values += 1;
        if (values >= valuesMax) return { excess: `has more than ${valuesMax} values`, doubled, hasLongNumber };
        isName = level?.names !== undefined;
        if (typeof level?.at === "number") level.at += 1;
        break;
      case 0x3a: // :
        isName = false;
        break;
      case 0x22: {
        const end = stringEnd(text, at);
        if (isName && level?.names !== undefined) {
          level.at = nameIn(text.slice(at, end));
          if (level.names.has(level.at)) doubled ??= pathOf(levels.map((each) => each.at));
          level.names.add(level.at);
        }
        at = end - 1;
        break;
      }
      default:
        if (code === 0x2d || (code >= 0x30 && code <= 0x39)) {
          const end = numberEnd(text, at);
          hasLongNumber ||= end - at > plainLength || /[eE]/.test(text.slice(at, end));
          at = end - 1;
        }
    }
  }
  return { excess: undefined, doubled, hasLongNumber };
}

/** The name of a member, which stands between quotes. */
function nameIn(quoted: string): string {
  if (!quoted.includes("\\")) return quoted.slice(1, -1);
  try {
    return JSON.parse(quoted) as string;
  } catch {
    return quoted; // not JSON; the parse of the whole will say so
  }
}

function numberEnd(text: string, start: number): number {
  numberCharacters.lastIndex = start;
  return start + (numberCharacters.exec(text)?.[0].length ?? 1);
}

const numberCharacters = /[-+.\deE]+/y;
