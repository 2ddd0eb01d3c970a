import { parseTemplate } from "../transcode/template.ts";

/** A path as OpenAPI writes it. */
export interface DocumentPath {
  /** `/v1/teams/{team}`. */
  readonly path: string;
  /** Names of its parameters, with the field of the request that each is bound to. */
  readonly parameters: readonly { readonly name: string; readonly fieldPath: string }[];
}

/**
 * Writes a template of google.api.http as OpenAPI has paths: every wildcard is a parameter, named after the collection before it, so that
 * `/v1/{name=teams/*}` becomes `/v1/teams/{team}` and two templates of one form become one path.
 */
export function documentPath(template: string): DocumentPath {
  const { segments, verb, variables } = parseTemplate(template);
  const parameters: { name: string; fieldPath: string }[] = [];
  let before = "";
  const texts = segments.map((segment, index) => {
    if (segment.kind === "literal") {
      before = segment.text;
      return segment.text;
    }
    const fieldPath = variables.find(({ start, end }) => start <= index && index < end)?.fieldPath ?? "";
    const name = uniqueName(nameAfter(before) ?? (fieldPath === "" ? "rest" : fieldPath), parameters);
    parameters.push({ name, fieldPath });
    return `{${name}}`;
  });
  return { path: `/${texts.join("/")}${verb === "" ? "" : `:${verb}`}`, parameters };
}

/** `team` for `teams`; undefined where the word before is no collection. */
function nameAfter(word: string): string | undefined {
  if (!/^[a-z_]+s$/i.test(word)) return undefined;
  return word.endsWith("ies") ? `${word.slice(0, -3)}y` : word.slice(0, -1);
}

function uniqueName(name: string, taken: readonly { readonly name: string }[]): string {
  const plain = name.replaceAll(/[^A-Za-z0-9_]/g, "_");
  return taken.some((other) => other.name === plain) ? `${plain}_${taken.length + 1}` : plain;
}
