import type { DescField, DescMessage } from "@bufbuild/protobuf";
import { methodPath } from "@weir/kit/context";
import { costFacts } from "../routes/costs.ts";
import type { PublicMethod } from "../rpc/public-methods.ts";
import type { HttpBinding } from "../transcode/rules.ts";
import type { MediaFacts, OperationFacts, ParameterFacts } from "./operation.ts";
import { documentPath } from "./paths.ts";
import type { Schema, Schemas } from "./schema.ts";

type Comments = Readonly<Record<string, string>>;

/** A public method as REST, by one of its rules of google.api.http. @param index which of its rules, from 0 */
export function restOperation(
  method: PublicMethod,
  binding: HttpBinding,
  index: number,
  schemas: Schemas,
  comments: Comments,
): OperationFacts {
  const { desc } = method;
  const { body, responseBody } = binding;
  const whole = responseBody === undefined ? schemas.ref(desc.output) : schemas.ofField(responseBody);
  const form = costFacts.get(methodPath(desc));
  return {
    ...named(method, comments),
    tag: desc.parent.name,
    operationId: `${desc.parent.name}_${desc.name}${index === 0 ? "" : `_${index + 1}`}`,
    parameters: [
      ...documentPath(binding.template.text).parameters.map(({ name, fieldPath }): ParameterFacts => {
        const leaf = binding.pathParameters.find((each) => each.fieldPath === fieldPath)?.fields.at(-1);
        const about = leaf === undefined ? undefined : comments[nameOf(leaf)];
        // The template has the collection that the field's own rules ask for.
        return { name, in: "path", schema: { type: "string", minLength: 1 }, description: about };
      }),
      ...binding.queryParameters.flatMap(({ jsonName, fields }): ParameterFacts[] => {
        const leaf = fields.at(-1);
        if (leaf === undefined) return [];
        const { description: _, ...schema } = schemas.ofField(leaf);
        return [{ name: jsonName, in: "query", schema, description: comments[nameOf(leaf)] }];
      }),
      ...(form?.parameters ?? []),
    ],
    request:
      body.kind === "none"
        ? undefined
        : {
            required: true,
            content: {
              "application/json": {
                schema: body.kind === "all" ? withoutPath(desc.input, binding, schemas) : schemas.ofField(body.field),
              },
            },
          },
    responseText: method.kind === "stream" ? "The messages of the stream, in order." : "The answer.",
    response: {
      ...(method.kind === "stream" ? streamForms(whole) : { "application/json": { schema: whole } }),
      ...form?.response,
    },
    failures: "status",
  };
}

/** A public method in the protocols of Connect and gRPC-Web. */
export function connectOperation(method: PublicMethod, schemas: Schemas, comments: Comments): OperationFacts {
  const { desc } = method;
  const input = schemas.ref(desc.input);
  const output = schemas.ref(desc.output);
  const framed = { type: "string", contentMediaType: "application/octet-stream" };
  const content: Record<string, MediaFacts> =
    method.kind === "unary"
      ? { "application/json": { schema: input }, "application/proto": { schema: framed } }
      : { "application/connect+json": { schema: framed }, "application/connect+proto": { schema: framed } };
  const web = { "application/grpc-web+proto": { schema: framed }, "application/grpc-web-text": { schema: framed } };
  return {
    ...named(method, comments),
    tag: "Connect and gRPC-Web",
    operationId: `${desc.parent.name}_${desc.name}_connect`,
    request: { required: true, content: { ...content, ...web } },
    responseText: method.kind === "unary" ? "The answer." : "The messages of the stream, each in an envelope.",
    response:
      method.kind === "unary"
        ? { "application/json": { schema: output }, "application/proto": { schema: framed }, ...web }
        : { ...content, ...web },
    failures: "connect",
  };
}

function named(method: PublicMethod, comments: Comments): Pick<OperationFacts, "summary" | "description" | "isOpen"> {
  const { desc, access } = method;
  const name = `${desc.parent.typeName}.${desc.name}`;
  return {
    summary: desc.name.replaceAll(/(?<=[a-z])([A-Z])/g, (letter) => ` ${letter.toLowerCase()}`),
    description: comments[name],
    isOpen: access === "open",
  };
}

/** Lines of JSON, or events, as the client asks by its Accept header. */
function streamForms(schema: Schema): Record<string, MediaFacts> {
  return { "application/x-ndjson": { schema }, "text/event-stream": { schema } };
}

/** The request without what the path sets. */
function withoutPath(input: DescMessage, { pathParameters }: HttpBinding, schemas: Schemas): Schema {
  const set = pathParameters.flatMap(({ fields }) => (fields.length === 1 ? [fields[0]?.jsonName ?? ""] : []));
  if (set.length === 0) return schemas.ref(input);
  schemas.ref(input);
  const { properties, required, ...rest } = schemas.components.get(input.typeName) ?? {};
  const left = Object.entries((properties ?? {}) as Record<string, unknown>).filter(([name]) => !set.includes(name));
  const needed = ((required ?? []) as string[]).filter((name) => !set.includes(name));
  return { ...rest, properties: Object.fromEntries(left), ...(needed.length > 0 && { required: needed }) };
}

function nameOf(field: DescField): string {
  return `${field.parent.typeName}.${field.name}`;
}
