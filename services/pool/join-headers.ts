/**
 * Headers of the configuration with those of one call, for undici: name, value, name, value. What a call sets takes the place of
 * what is configured; lists of betas are joined.
 */
export function joinHeaders(configured: readonly string[], ofCall: readonly string[]): string[] {
  const joined = [...configured];
  for (let at = 0; at < ofCall.length; at += 2) {
    const name = ofCall[at] as string;
    const value = ofCall[at + 1] as string;
    const known = indexOfName(joined, name);
    if (known < 0) joined.push(name, value);
    else joined[known + 1] = lists.has(name) ? `${joined[known + 1]},${value}` : value;
  }
  return joined;
}

const lists: ReadonlySet<string> = new Set(["anthropic-beta"]);

function indexOfName(headers: readonly string[], name: string): number {
  for (let at = 0; at < headers.length; at += 2) if (headers[at] === name) return at;
  return -1;
}
