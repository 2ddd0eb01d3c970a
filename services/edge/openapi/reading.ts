import type { OpenApiDocument } from "./document.ts";
import type { Schema } from "./schema.ts";

/**
 * The document as one page to read: every operation with its parameters, bodies and answers, by tags, and the schemas that they
 * refer to. It has no script; all text is escaped.
 */
export function readingPage(document: OpenApiDocument): string {
  const { info, tags, paths, components } = document;
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );
  const sections = tags.map(({ name, description }) => ({
    name,
    description,
    operations: operations.filter(({ operation }) => (operation["tags"] as readonly string[]).includes(name)),
  }));
  const schemas = Object.entries((components["schemas"] ?? {}) as Record<string, Schema>);
  const common = (components["parameters"] ?? {}) as Record<string, Schema>;
  const contents = sections
    .map(
      ({ name, operations: own }) =>
        `<details open><summary><a href="#${anchor(name)}">${escaped(name)}</a></summary><ul>${own
          .map(
            ({ operation, method }) =>
              `<li><a href="#${anchor(textOf(operation, "operationId"))}">${badge(method)} ${escaped(textOf(operation, "summary"))}</a></li>`,
          )
          .join("")}</ul></details>`,
    )
    .join("");
  const main = sections
    .map(
      ({ name, description, operations: own }) =>
        `<section><h2 id="${anchor(name)}">${escaped(name)}</h2><p>${prose(description)}</p>${own.map((each) => operationHtml(each, common)).join("")}</section>`,
    )
    .join("");
  const types = schemas
    .map(
      ([name, schema]) =>
        `<article><h3 id="${anchor(name)}">${escaped(name)}</h3>${about(schema)}${membersHtml(schema)}</article>`,
    )
    .join("");
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Weir API</title><link rel="icon" href="data:,"><link rel="stylesheet" href="/docs/reading.css"></head>
<body>
<nav><h1>${escaped(textOf(info, "title"))} <small>${escaped(textOf(info, "version"))}</small></h1><p><a href="/docs">Try it out</a> · <a href="/openapi.json">openapi.json</a></p>${contents}<details><summary><a href="#schemas">Schemas</a></summary></details></nav>
<main><p>${prose(textOf(info, "description"))}</p>${main}<section><h2 id="schemas">Schemas</h2>${types}</section></main>
</body>
</html>
`;
}

interface Operation {
  readonly path: string;
  readonly method: string;
  readonly operation: Schema;
}

/** @param common parameters that operations refer to */
function operationHtml({ path, method, operation }: Operation, common: Readonly<Record<string, Schema>>): string {
  const docs = operation["externalDocs"] as Schema | undefined;
  const request = operation["requestBody"] as Schema | undefined;
  const parameters = ((operation["parameters"] ?? []) as readonly Schema[]).map(
    (each) => common[textOf(each, "$ref").split("/").at(-1) ?? ""] ?? each,
  );
  return `<article>
<h3 id="${anchor(textOf(operation, "operationId"))}">${escaped(textOf(operation, "summary"))}</h3>
<p class="path">${badge(method)} <code>${escaped(path)}</code></p>
${about(operation)}${docs === undefined ? "" : `<p><a href="${escaped(textOf(docs, "url"))}" rel="noreferrer">The vendor's page</a></p>`}
${parameters.length === 0 ? "" : `<h4>Parameters</h4>${rows(parameters.map((each) => [textOf(each, "name"), `${textOf(each, "in")}, ${typeHtml(each["schema"] as Schema)}`, textOf(each, "description")]))}`}
${request === undefined ? "" : `<h4>Request</h4>${contentHtml(request["content"])}`}
<h4>Answers</h4>${Object.entries(operation["responses"] as Record<string, Schema>)
    .map(answerHtml)
    .join("")}
</article>`;
}

function answerHtml([status, response]: [string, Schema]): string {
  const reference = response["$ref"];
  const text =
    typeof reference === "string"
      ? `A failure, as clients of this form know it (${reference.split("/").at(-1) ?? ""}).`
      : textOf(response, "description");
  return `<p><b>${escaped(status)}</b> ${escaped(text)}</p>${contentHtml(response["content"])}`;
}

function contentHtml(content: unknown): string {
  if (typeof content !== "object" || content === null) return "";
  return Object.entries(content as Record<string, Schema>)
    .map(([type, { schema, example }]) => {
      const members = membersHtml(schema as Schema);
      const shown = example === undefined ? "" : `<pre>${escaped(JSON.stringify(example, undefined, 2))}</pre>`;
      return `<p><code>${escaped(type)}</code>: ${typeHtml(schema as Schema)}</p>${members}${shown}`;
    })
    .join("");
}

function membersHtml(schema: Schema): string {
  const properties = Object.entries((schema["properties"] ?? {}) as Record<string, Schema>);
  if (properties.length === 0) return "";
  const required = (schema["required"] ?? []) as readonly string[];
  return rows(
    properties.map(([name, property]) => [
      name,
      `${typeHtml(property)}${required.includes(name) ? ", required" : ""}${bounds(property)}`,
      textOf(property, "description"),
    ]),
  );
}

/** @param cells a name, HTML, and prose */
function rows(cells: readonly (readonly [name: string, html: string, text: string])[]): string {
  const lines = cells.map(
    ([name, html, text]) => `<tr><td><code>${escaped(name)}</code></td><td>${html}</td><td>${prose(text)}</td></tr>`,
  );
  return `<table><tbody>${lines.join("")}</tbody></table>`;
}

function typeHtml(schema: Schema): string {
  const reference = schema["$ref"];
  if (typeof reference === "string") {
    const name = reference.split("/").at(-1) ?? "";
    return `<a href="#${anchor(name)}">${escaped(name.split(".").at(-1) ?? name)}</a>`;
  }
  if (schema["type"] === "array") return `list of ${typeHtml((schema["items"] ?? {}) as Schema)}`;
  if ("const" in schema) return `<code>${escaped(JSON.stringify(schema["const"]))}</code>`;
  const values = schema["additionalProperties"];
  if (typeof values === "object" && values !== null) return `map to ${typeHtml(values as Schema)}`;
  const { type = "anything" } = schema as { readonly type?: string | readonly string[] };
  return escaped(typeof type === "string" ? type : type.join(" or "));
}

const boundNames = [
  "minimum",
  "exclusiveMinimum",
  "maximum",
  "exclusiveMaximum",
  "minLength",
  "maxLength",
  "minItems",
  "maxItems",
  "pattern",
  "format",
];

function bounds(schema: Schema): string {
  const said = boundNames.flatMap((name) => (name in schema ? [`${name} ${String(schema[name])}`] : []));
  return said.length === 0 ? "" : `<br><small>${escaped(said.join(", "))}</small>`;
}

function about(schema: Schema): string {
  const text = textOf(schema, "description");
  return text === "" ? "" : `<p>${prose(text)}</p>`;
}

function badge(method: string): string {
  return `<span class="method ${escaped(method)}">${escaped(method.toUpperCase())}</span>`;
}

function textOf(schema: Schema, name: string): string {
  const value = schema[name];
  return typeof value === "string" ? value : "";
}

/** Escaped text with code between back quotes, and lines that begin with a hyphen as they are. */
function prose(text: string): string {
  return escaped(text)
    .replaceAll(/`([^`]+)`/g, "<code>$1</code>")
    .replaceAll("\n", "<br>");
}

function anchor(name: string): string {
  return name.replaceAll(/[^A-Za-z0-9_.-]+/g, "-");
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
