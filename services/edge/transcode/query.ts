import { invalid } from "./faults.ts";

/** A parameter of a query, decoded. */
export interface QueryPair {
  readonly name: string;
  readonly value: string;
}

/**
 * Reads the query of a request's target: names and values with `=` between them and `&` after each, percent-encoded, spaces as
 * `+` or `%20`. A name alone has an empty value.
 * @param target the target of the request, with or without a query
 * @throws WeirError INVALID_REQUEST when the encoding is broken or no UTF-8
 */
export function readQuery(target: string): QueryPair[] {
  const start = target.indexOf("?");
  if (start < 0) return [];
  return target
    .slice(start + 1)
    .split("&")
    .filter((pair) => pair !== "")
    .map((pair) => {
      const equals = pair.indexOf("=");
      const name = equals < 0 ? pair : pair.slice(0, equals);
      return { name: decode(name), value: equals < 0 ? "" : decode(pair.slice(equals + 1)) };
    });
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    throw invalid("The query is not percent-encoded UTF-8.");
  }
}
