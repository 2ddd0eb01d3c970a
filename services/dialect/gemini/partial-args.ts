import { isObject, type JsonObject, writeJson } from "../json.ts";

/**
 * Puts together the arguments of a call that Vertex AI streams piece by piece.
 * https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling#streaming-fc
 */
export interface PartialArgs {
  /** Takes one entry of `partialArgs`. @returns false when it is none */
  add(piece: unknown): boolean;
  /** The arguments as JSON text. */
  json(): string;
}

type Container = Record<string, unknown> | unknown[];

export function createPartialArgs(): PartialArgs {
  const root = emptyObject();
  let openPath: string | undefined; // where a text goes on

  return {
    add(piece) {
      if (!isObject(piece)) return false;
      const path = piece["jsonPath"];
      const steps = typeof path === "string" ? readPath(path) : undefined;
      if (steps === undefined || steps.length === 0) return false;
      const value = readValue(piece);
      const isMore = path === openPath;
      openPath = piece["willContinue"] === true ? (path as string) : undefined;
      return value === undefined ? isMore : put(root, steps, value, isMore);
    },
    json: () => writeJson(root),
  };
}

/** The value of a piece; undefined when it has none. */
function readValue(piece: JsonObject): unknown {
  if ("nullValue" in piece) return null;
  return piece["stringValue"] ?? piece["numberValue"] ?? piece["boolValue"];
}

/** A name in an object, or an index in a list. */
type Step = string | number;

function put(root: Container, steps: readonly Step[], value: unknown, isMore: boolean): boolean {
  let container = root;
  for (const [index, step] of steps.entries()) {
    const next = steps[index + 1];
    const before = get(container, step);
    if (next === undefined) {
      const joined = isMore && typeof before === "string" && typeof value === "string" ? before + value : value;
      return set(container, step, joined);
    }
    if (before === undefined) {
      const inner: Container = typeof next === "number" ? [] : emptyObject();
      if (!set(container, step, inner)) return false;
      container = inner;
    } else if (typeof before === "object" && before !== null) container = before as Container;
    else return false;
  }
  return false;
}

function get(container: Container, step: Step): unknown {
  return Array.isArray(container) ? container[Number(step)] : container[step];
}

/** Sets a member, or an item of a list, which grows one by one. */
function set(container: Container, step: Step, value: unknown): boolean {
  if (!Array.isArray(container)) container[step] = value;
  else if (typeof step === "number" && step <= container.length) container[step] = value;
  else return false;
  return true;
}

/** An object in which `__proto__` is a name like others. */
function emptyObject(): Record<string, unknown> {
  return Object.create(null) as Record<string, unknown>;
}

const stepShape = /\.([^.[\]'"]+)|\[(\d+)\]|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]/y;

/** The steps of a path of RFC 9535 that names one value: `$.a['b'][0]`; undefined when it is of another kind. */
function readPath(path: string): Step[] | undefined {
  if (!path.startsWith("$")) return undefined;
  const steps: Step[] = [];
  stepShape.lastIndex = 1;
  while (stepShape.lastIndex < path.length) {
    const match = stepShape.exec(path);
    if (match === null) return undefined;
    const [, dotted, index, single, double] = match;
    if (index !== undefined) steps.push(Number(index));
    else steps.push(dotted ?? (single ?? double ?? "").replace(/\\(.)/g, "$1"));
  }
  return steps;
}
