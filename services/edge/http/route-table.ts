import { decodeButSlashes, decodeText, parseTemplate, type PathTemplate, type Segment } from "../transcode/template.ts";

/** A path, one way to call it, and what answers. */
export interface RouteRow {
  /** `GET`, or `*` for every method that no other row of the path has. A GET answers HEAD as well. */
  readonly method: string;
  /** A template as google.api.http has them: `/v1/models/{id=**}`, `/v1/{name=keys/*}:revoke`. See parseTemplate. */
  readonly path: string;
  /**
   * Whether `%2F` in a variable of several segments stays as it stands, as google.api.http says. Default: it becomes a slash,
   * which clients expect who encode a whole name (`meta%2Fllama`).
   */
  readonly keepsSlashes?: boolean;
}

/** A path that was found. */
export interface FoundRoute<R extends RouteRow> {
  /** What answers; undefined: the path exists, and not for this method. */
  readonly row: R | undefined;
  /** What the names of the row's template stand for, percent-decoded. */
  readonly params: PathParams;
  /** A row of the path, whatever its method. */
  readonly anyRow: R;
  /** Value of the Allow header. */
  readonly allow: string;
}

export type PathParams = Readonly<Record<string, string>>;

/** Finds what answers at a path. The one look-up decides both who may call and what is called. */
export interface RouteTable<R extends RouteRow> {
  /**
   * Several templates may fit a path: one with a verb goes before one without, and then, from the left, a text before `*` before
   * `**`. The first of them that has the method answers.
   * @param path as it came, still percent-encoded, without the query
   */
  find(path: string, method: string): FoundRoute<R> | undefined;
}

const noParams: PathParams = Object.freeze({});

/** What stands at one place of the trie: rows by method, for each verb. */
type Place<R> = Map<string, Map<string, Entry<R>>>;

interface Entry<R> {
  readonly row: R;
  readonly template: PathTemplate;
}

interface Node<R> {
  readonly literals: Map<string, Node<R>>;
  one: Node<R> | undefined;
  readonly here: Place<R>;
  readonly rest: Place<R>;
}

/** @throws TemplateError for a template that cannot be read, Error for two rows that fit the same calls */
export function createRouteTable<R extends RouteRow>(rows: readonly R[]): RouteTable<R> {
  const root = createNode<R>();
  const verbs = new Set<string>();
  for (const row of rows) {
    const template = parseTemplate(row.path);
    verbs.add(template.verb);
    insert(root, row, template);
  }
  // Calls of paths without variables, in one look-up.
  const literals = new Map<string, Map<string, FoundRoute<R>>>();
  for (const { path } of rows) {
    if (/[{*%]/.test(path)) continue;
    const byMethod = new Map<string, FoundRoute<R>>();
    for (const method of allMethods(entriesAt(path))) {
      const found = search(path, method);
      if (found?.row !== undefined) byMethod.set(method, found);
    }
    literals.set(path, byMethod);
  }
  return {
    find: (path, method) => literals.get(path)?.get(method) ?? search(path, method),
  };

  /** Everything that fits a path, the most exact first. */
  function entriesAt(path: string): Map<string, Entry<R>>[] {
    const segments = path.split("/").slice(1);
    const last = segments.at(-1) ?? "";
    const colon = last.lastIndexOf(":");
    const verb = colon < 0 ? "" : last.slice(colon + 1);
    const found: Map<string, Entry<R>>[] = [];
    if (verb !== "" && verbs.has(verb)) collect(root, [...segments.slice(0, -1), last.slice(0, colon)], 0, verb, found);
    collect(root, segments, 0, "", found);
    return found;
  }

  function search(path: string, method: string): FoundRoute<R> | undefined {
    if (!path.startsWith("/")) return undefined;
    const places = entriesAt(path);
    for (const byMethod of places) {
      const entry = pick(byMethod, method);
      const params = entry && readParams(entry, path);
      if (params !== undefined) return { row: entry?.row, params, anyRow: entry?.row as R, allow: allowOf(places) };
    }
    const [anyEntry] = places.flatMap((byMethod) => [...byMethod.values()]);
    // Also a path that no template can bind, for its encoding is broken, is none.
    if (anyEntry === undefined || readParams(anyEntry, path) === undefined) return undefined;
    return { row: undefined, params: noParams, anyRow: anyEntry.row, allow: allowOf(places) };
  }
}

function createNode<R>(): Node<R> {
  return { literals: new Map(), one: undefined, here: new Map(), rest: new Map() };
}

function insert<R extends RouteRow>(root: Node<R>, row: R, template: PathTemplate): void {
  let node = root;
  for (const segment of template.segments) node = childOf(node, segment);
  const place = template.segments.at(-1)?.kind === "rest" ? node.rest : node.here;
  const byMethod = place.get(template.verb) ?? new Map<string, Entry<R>>();
  place.set(template.verb, byMethod);
  const other = byMethod.get(row.method);
  if (other !== undefined)
    throw new Error(`${row.method} ${row.path} and ${row.method} ${other.row.path} are one path`);
  byMethod.set(row.method, { row, template });
}

function childOf<R>(node: Node<R>, segment: Segment): Node<R> {
  switch (segment.kind) {
    case "literal": {
      const child = node.literals.get(segment.text) ?? createNode<R>();
      node.literals.set(segment.text, child);
      return child;
    }
    case "one":
      node.one ??= createNode<R>();
      return node.one;
    case "rest":
      return node;
  }
}

/** Appends what fits the segments from an index on. Every node is entered at most once, so the work is bounded by the trie. */
function collect<R>(
  node: Node<R>,
  segments: readonly string[],
  index: number,
  verb: string,
  found: Map<string, Entry<R>>[],
): void {
  const segment = segments[index];
  if (segment === undefined) {
    append(node.here.get(verb), found);
  } else if (segment !== "") {
    const literal = node.literals.size === 0 ? undefined : node.literals.get(decodeText(segment) ?? segment);
    if (literal !== undefined) collect(literal, segments, index + 1, verb, found);
    if (node.one !== undefined) collect(node.one, segments, index + 1, verb, found);
  }
  if (segments.indexOf("", index) < 0) append(node.rest.get(verb), found);
}

function append<T>(item: T | undefined, list: T[]): void {
  if (item !== undefined) list.push(item);
}

function pick<R>(byMethod: ReadonlyMap<string, Entry<R>>, method: string): Entry<R> | undefined {
  const own = byMethod.get(method) ?? (method === "HEAD" ? byMethod.get("GET") : undefined);
  // The door itself answers OPTIONS.
  return own ?? (method === "OPTIONS" ? undefined : byMethod.get("*"));
}

function allMethods<R>(places: readonly ReadonlyMap<string, Entry<R>>[]): Set<string> {
  const methods = new Set<string>();
  for (const byMethod of places) {
    for (const method of byMethod.keys()) {
      methods.add(method);
      if (method === "GET") methods.add("HEAD");
    }
  }
  return methods;
}

function allowOf<R>(places: readonly ReadonlyMap<string, Entry<R>>[]): string {
  const methods = allMethods(places);
  if (methods.delete("*")) for (const method of ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]) methods.add(method);
  return [...methods, "OPTIONS"].join(", ");
}

/** @returns undefined when a value's encoding is broken */
function readParams<R extends RouteRow>({ row, template }: Entry<R>, path: string): PathParams | undefined {
  if (template.variables.length === 0) return noParams;
  const bare = template.verb === "" ? path : path.slice(0, path.lastIndexOf(":"));
  const segments = bare.split("/").slice(1);
  const params: Record<string, string> = {};
  for (const { fieldPath, start, end, isMulti } of template.variables) {
    // `**` is last: a variable that ends with it has all that is left.
    const isOpen = end === template.segments.length && template.segments[end - 1]?.kind === "rest";
    const raw = segments.slice(start, isOpen ? undefined : end).join("/");
    const value = isMulti && row.keepsSlashes === true ? decodeButSlashes(raw) : decodeText(raw);
    if (value === undefined) return undefined;
    params[fieldPath] = value;
  }
  return params;
}
