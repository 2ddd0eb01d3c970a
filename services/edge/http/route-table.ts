/** A path, one way to call it, and what answers. */
export interface RouteRow {
  readonly method: string;
  /**
   * Literal segments, `{name}` for one segment, `{name=**}` at the end for the rest: `/v1/models/{id=**}`. A literal
   * path goes before a template; among templates the first row wins.
   */
  readonly path: string;
}

/** All that answers at one path. */
export interface Path<R extends RouteRow> {
  readonly byMethod: ReadonlyMap<string, R>;
  /** Value of the Allow header. */
  readonly allow: string;
}

/** A path that was found, with what its template's names stand for, percent-decoded. */
export interface FoundPath<R extends RouteRow> {
  readonly path: Path<R>;
  readonly params: PathParams;
}

export type PathParams = Readonly<Record<string, string>>;

/** Finds what answers at a path. The one look-up decides both who may call and what is called. */
export interface RouteTable<R extends RouteRow> {
  /** @param path as it came, still percent-encoded, without the query */
  find(path: string): FoundPath<R> | undefined;
}

const noParams: PathParams = Object.freeze({});

/** @throws Error for a row that stands twice and for a template that cannot be read */
export function createRouteTable<R extends RouteRow>(rows: readonly R[]): RouteTable<R> {
  const byPath = new Map<string, R[]>();
  for (const row of rows) {
    const same = byPath.get(row.path);
    if (same === undefined) byPath.set(row.path, [row]);
    else if (same.some((other) => other.method === row.method)) throw new Error(`${row.method} ${row.path} twice`);
    else same.push(row);
  }
  const literals = new Map<string, FoundPath<R>>();
  const templates: { match: (path: string) => PathParams | undefined; path: Path<R> }[] = [];
  for (const [text, methods] of byPath) {
    const path = collectMethods(methods);
    if (text.includes("{")) templates.push({ match: compileTemplate(text), path });
    else literals.set(text, { path, params: noParams });
  }
  return {
    find(path) {
      const literal = literals.get(path);
      if (literal !== undefined) return literal;
      for (const template of templates) {
        const params = template.match(path);
        if (params !== undefined) return { path: template.path, params };
      }
      return undefined;
    },
  };
}

function collectMethods<R extends RouteRow>(rows: readonly R[]): Path<R> {
  const byMethod = new Map(rows.map((row) => [row.method, row]));
  const get = byMethod.get("GET");
  if (get !== undefined && !byMethod.has("HEAD")) byMethod.set("HEAD", get);
  return { byMethod, allow: [...byMethod.keys(), "OPTIONS"].join(", ") };
}

function compileTemplate(template: string): (path: string) => PathParams | undefined {
  const names: string[] = [];
  const parts = template.split("/").map((segment, index, segments) => {
    const match = /^\{([a-z_]+)(=\*\*)?\}$/.exec(segment);
    if (match === null) {
      if (segment.includes("{")) throw new Error(`template ${template}: a segment is all literal or all name`);
      return segment.replace(/[.*+?^$()|[\]\\]/g, "\\$&");
    }
    if (match[2] !== undefined && index !== segments.length - 1) {
      throw new Error(`template ${template}: ** stands last`);
    }
    names.push(match[1] as string);
    return match[2] === undefined ? "([^/]+)" : "(.+)";
  });
  const pattern = new RegExp(`^${parts.join("/")}$`);
  return (path) => {
    const match = pattern.exec(path);
    if (match === null) return undefined;
    const params: Record<string, string> = {};
    for (const [index, name] of names.entries()) {
      const value = decode(match[index + 1] as string);
      if (value === undefined) return undefined;
      params[name] = value;
    }
    return params;
  };
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
