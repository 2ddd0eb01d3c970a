const itemsMax = 10_000;
const idLengthMax = 256;

/**
 * The ids of the items in a list of output items, each once; none where it cannot be read.
 * @param output JSON
 */
export function itemIdsOf(output: Uint8Array): string[] {
  const ids = new Set<string>();
  for (const item of listOf(output).slice(0, itemsMax)) {
    const id: unknown = typeof item === "object" && item !== null && "id" in item ? item.id : undefined;
    // The database takes no text with a zero in it.
    if (typeof id === "string" && id !== "" && id.length <= idLengthMax && !id.includes("\0")) ids.add(id);
  }
  return [...ids];
}

function listOf(output: Uint8Array): readonly unknown[] {
  try {
    const list: unknown = JSON.parse(Buffer.from(output.buffer, output.byteOffset, output.byteLength).toString());
    return Array.isArray(list) ? list : [];
  } catch {
    // Bytes that are no JSON were stored as they came; nobody can refer to what stands in them.
    return [];
  }
}
