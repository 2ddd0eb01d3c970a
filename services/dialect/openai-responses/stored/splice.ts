import { scanMembers } from "../../json-scan.ts";

/** Deepest nesting that is looked into. Bodies are refused at this depth when they come; what a model answers stays far below. */
export const depthMax = 128;

/**
 * Sets members of a JSON object. All other bytes stay as they are; a member that is not there yet becomes the first.
 * @param object valid JSON
 * @param members JSON text, by name; names are ASCII
 */
export function withMembers(object: Buffer, members: Readonly<Record<string, string | Buffer>>): Buffer {
  const found = scanMembers(object, new Set(Object.keys(members)), depthMax);
  if (found === undefined) return object;
  const { bodyStart, spans } = found;
  const added = Object.keys(members).filter((name) => !spans.has(name));
  const pieces: Buffer[] = [object.subarray(0, bodyStart)];
  for (const name of added) pieces.push(Buffer.from(`${JSON.stringify(name)}:`), asBuffer(members[name]), comma);
  if (added.length > 0 && isEmpty(object, bodyStart)) pieces.pop();
  let at = bodyStart;
  const places = [...spans].sort(([, a], [, b]) => a.start - b.start);
  for (const [name, { start, end }] of places) {
    pieces.push(object.subarray(at, start), asBuffer(members[name]));
    at = end;
  }
  pieces.push(object.subarray(at));
  return Buffer.concat(pieces);
}

const comma = Buffer.from(",");

function asBuffer(json: string | Buffer | undefined): Buffer {
  return typeof json === "string" ? Buffer.from(json) : (json ?? Buffer.alloc(0));
}

function isEmpty(object: Buffer, bodyStart: number): boolean {
  let at = bodyStart;
  while (object[at] === 0x20 || object[at] === 0x0a || object[at] === 0x0d || object[at] === 0x09) at += 1;
  return object[at] === 0x7d;
}
