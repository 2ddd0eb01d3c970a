const encoding = /^(?:identity|gzip|deflate|br|zstd|snappy)$/;

/** Headers and parameters (https://connectrpc.com/docs/protocol) of which a protocol's handler tells whoever sent one that it does not know. */
const shapes: ReadonlyMap<string, RegExp> = new Map([
  ["connect-timeout-ms", /^\d{1,10}$/],
  ["grpc-timeout", /^\d{1,8}[HMSmun]$/],
  ["connect-protocol-version", /^1$/],
  ["content-encoding", encoding],
  ["connect-content-encoding", encoding],
  ["grpc-encoding", encoding],
  ["connect", /^v1$/],
  ["compression", encoding],
]);

/** What a handler is given for a header: one that it would refuse and repeat becomes a word that says nothing. */
export function protocolWord(name: string, value: string): string {
  return shapes.get(name)?.test(value) === false ? "unknown" : value;
}

/** The same for a query. @param query with its question mark, or empty */
export function protocolQuery(query: string): string {
  const params = new URLSearchParams(query);
  const strange = ["connect", "compression"].filter((name) => {
    const value = params.get(name);
    return value !== null && protocolWord(name, value) !== value;
  });
  if (strange.length === 0) return query;
  for (const name of strange) params.set(name, "unknown");
  return `?${params.toString()}`;
}
