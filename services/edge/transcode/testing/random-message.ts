import { create, type DescEnum, type DescField, type DescMessage, type Message, ScalarType } from "@bufbuild/protobuf";
import { reflect, type ReflectMessage } from "@bufbuild/protobuf/reflect";

/** From 0 to less than 1. */
export type Random = () => number;

/** A source of numbers that a seed decides. https://gist.github.com/tommyettinger/46a874533244883189143505d203312c (mulberry32, public domain) */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const depthMax = 4;

/** Any message of a type that proto JSON can write and read back unchanged: no NaN, no -0, no lone surrogates, no Any. */
export function randomMessage(schema: DescMessage, random: Random): Message {
  const message = reflect(schema, create(schema));
  fill(message, random, 0);
  return message.message;
}

function fill(message: ReflectMessage, random: Random, depth: number): void {
  if (fillWellKnown(message, random, depth)) return;
  for (const member of message.desc.members) {
    // A oneof has one of its fields at most.
    const field = member.kind === "oneof" ? pick(member.fields, random) : member;
    if (random() < 0.6) setField(message, field, random, depth);
  }
}

function setField(message: ReflectMessage, field: DescField, random: Random, depth: number): void {
  switch (field.fieldKind) {
    case "scalar":
      message.set(field, randomScalar(field.scalar, random));
      break;
    case "enum":
      message.set(field, randomEnum(field.enum, random));
      break;
    case "message":
      if (depth < depthMax) message.set(field, inner(field.message, random, depth));
      break;
    case "list":
      for (let count = Math.floor(random() * 3); count > 0; count -= 1) {
        const item = randomItem(field, random, depth);
        if (item !== undefined) message.get(field).add(item);
      }
      break;
    case "map":
      for (let count = Math.floor(random() * 3); count > 0; count -= 1) {
        const item = randomItem(field, random, depth);
        if (item !== undefined) message.get(field).set(randomScalar(field.mapKey, random), item);
      }
  }
}

function randomItem(
  field: DescField & ({ fieldKind: "list" } | { fieldKind: "map" }),
  random: Random,
  depth: number,
): unknown {
  if (field.enum !== undefined) return randomEnum(field.enum, random);
  if (field.scalar !== undefined) return randomScalar(field.scalar, random);
  return depth < depthMax ? inner(field.message, random, depth) : undefined;
}

function inner(schema: DescMessage, random: Random, depth: number): ReflectMessage {
  const message = reflect(schema, create(schema));
  fill(message, random, depth + 1);
  return message;
}

function pick<T>(list: readonly T[], random: Random): T {
  return list[Math.floor(random() * list.length)] as T;
}

function randomEnum({ values }: DescEnum, random: Random): number {
  return random() < 0.1 ? Math.floor(random() * 1_000_000) + 1_000 : pick(values, random).number;
}

const pieces = [
  "a",
  "Z",
  "0",
  "/",
  "%",
  "%2F",
  "+",
  " ",
  "&",
  "=",
  "?",
  "#",
  ":",
  "*",
  "{",
  '"',
  "\\",
  "\u0000",
  "\n",
  "é",
  "漢",
  "😀",
  "__proto__",
];

/** A text with what is special to URLs and JSON. */
export function randomText(random: Random): string {
  let text = "";
  for (let count = Math.floor(random() * 6); count > 0; count -= 1) text += pick(pieces, random);
  return text;
}

function randomWhole(random: Random, bits: number, signed: boolean): bigint {
  let value = 0n;
  for (let count = 0; count < bits; count += 16) value = (value << 16n) | BigInt(Math.floor(random() * 65_536));
  // Small ones, large ones and the bounds.
  value >>= BigInt(Math.floor(random() * (bits + 1)));
  if (random() < 0.1) value = (1n << BigInt(bits)) - 1n;
  return signed ? BigInt.asIntN(bits, value) : BigInt.asUintN(bits, value);
}

function randomDouble(random: Random): number {
  const value = (random() - 0.5) * 10 ** Math.floor(random() * 40 - 20);
  return pick([value, Math.round(value) || 0, Number.POSITIVE_INFINITY, 1e300, 0, 0.1], random);
}

function randomScalar(type: ScalarType, random: Random): unknown {
  switch (type) {
    case ScalarType.STRING:
      return randomText(random);
    case ScalarType.BOOL:
      return random() < 0.5;
    case ScalarType.BYTES:
      return Uint8Array.from({ length: Math.floor(random() * 5) }, () => random() * 256);
    case ScalarType.DOUBLE:
      return randomDouble(random);
    case ScalarType.FLOAT:
      return Math.fround(Math.round((random() - 0.5) * 1e6)) || 0;
    case ScalarType.INT32:
    case ScalarType.SINT32:
    case ScalarType.SFIXED32:
      return Number(randomWhole(random, 32, true));
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return Number(randomWhole(random, 32, false));
    case ScalarType.INT64:
    case ScalarType.SINT64:
    case ScalarType.SFIXED64:
      return randomWhole(random, 64, true);
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return randomWhole(random, 64, false);
  }
}

const paths = ["name", "display_name", "limits.requests_per_minute", "a_b_c"];
/** The first and the last second of a Timestamp. */
const secondsMin = -62_135_596_800;
const secondsMax = 253_402_300_799;

/** @returns whether the message is one whose fields are not free */
function fillWellKnown(message: ReflectMessage, random: Random, depth: number): boolean {
  const set = (name: string, value: unknown) => {
    const field = message.desc.fields.find((each) => each.name === name);
    if (field !== undefined) message.set(field, value);
  };
  switch (message.desc.typeName) {
    case "google.protobuf.Timestamp":
      set("seconds", BigInt(Math.floor(random() * (secondsMax - secondsMin)) + secondsMin));
      set("nanos", pick([0, 5_000_000, 123_456_789], random));
      return true;
    case "google.protobuf.Duration": {
      const sign = random() < 0.5 ? -1 : 1;
      set("seconds", BigInt(sign * Math.floor(random() * 315_576_000_000)));
      set("nanos", sign * pick([0, 5_000_000, 123_456_789], random) || 0);
      return true;
    }
    case "google.protobuf.FieldMask":
      for (const field of message.desc.fields) {
        for (const path of paths) if (random() < 0.5 && field.fieldKind === "list") message.get(field).add(path);
      }
      return true;
    case "google.protobuf.Value": {
      // One kind is always set.
      const [kind] = message.desc.oneofs;
      const fields = (kind?.fields ?? []).filter((field) => depth < depthMax || field.fieldKind !== "message");
      const field = pick(fields, random);
      if (field.name === "number_value") message.set(field, Math.round(random() * 1e6) / 1_000);
      else if (field.fieldKind === "enum") message.set(field, 0);
      else if (field.fieldKind === "message") message.set(field, inner(field.message, random, depth));
      else setField(message, field, random, depth);
      return true;
    }
    default:
      return false;
  }
}
