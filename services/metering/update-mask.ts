import type { FieldMask } from "@bufbuild/protobuf/wkt";

/**
 * Which fields of a request for a change are to be taken over.
 * @param mask absent, or without a path: those that are present
 * @param fields by name, whether each is present
 */
export function changedFields<N extends string>(
  mask: FieldMask | undefined,
  fields: Readonly<Record<N, boolean>>,
): ReadonlySet<N> {
  const names = Object.keys(fields) as N[];
  const paths = mask?.paths ?? [];
  return new Set(names.filter((name) => (paths.length === 0 ? fields[name] : paths.includes(name))));
}
