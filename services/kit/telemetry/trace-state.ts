import type { TraceState } from "@opentelemetry/api";

const membersMax = 32;
const charsMax = 512;
/** Of a long list, members beyond this go first. */
const longChars = 128;
const memberForm = /^[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/;

/**
 * What of a `tracestate` header goes on: all of its members in their order, but at most 512 characters, of which the newest stand
 * first. Pure. https://www.w3.org/TR/trace-context-2/#tracestate-header
 * @returns undefined where nothing is left, and for one that is malformed, names a key twice or has more than 32 members: its source
 *   wants the whole of it left out then
 */
export function readTraceState(header: string): string | undefined {
  const members = header
    .split(",")
    .map(withoutBlanks)
    .filter((member) => member !== "");
  if (members.length === 0 || members.length > membersMax || !members.every((member) => memberForm.test(member))) {
    return undefined;
  }
  const keys = new Set(members.map((member) => member.slice(0, member.indexOf("="))));
  if (keys.size < members.length) return undefined;
  let text = members.join(",");
  while (text.length > charsMax) {
    const long = members.findLastIndex((member) => member.length > longChars);
    members.splice(long, 1); // -1: the last one
    text = members.join(",");
  }
  return text === "" ? undefined : text;
}

/** In one pass: a regular expression that looks for blanks at the end begins anew at each of those before it. */
function withoutBlanks(member: string): string {
  let start = 0;
  let end = member.length;
  while (start < end && isBlank(member, start)) start += 1;
  while (end > start && isBlank(member, end - 1)) end -= 1;
  return member.slice(start, end);
}

function isBlank(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  return code === 0x20 || code === 0x09;
}

/** A list that was read, as spans have it: their samplers may ask for members, and put their own first. */
export function toSpanState(list: string): TraceState {
  const members = list === "" ? [] : list.split(",");
  const isOf = (key: string) => (member: string) => member.startsWith(`${key}=`);
  const without = (key: string) => members.filter((member) => !isOf(key)(member));
  return {
    get: (key) => members.find(isOf(key))?.slice(key.length + 1),
    set: (key, value) => toSpanState([`${key}=${value}`, ...without(key)].join(",")),
    unset: (key) => toSpanState(without(key).join(",")),
    serialize: () => list,
  };
}
