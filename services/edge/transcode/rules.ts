import { type DescField, type DescMessage, type DescMethod, getOption } from "@bufbuild/protobuf";
import { http } from "@weir/gen/google/api/annotations_pb";
import type { HttpRule } from "@weir/gen/google/api/http_pb";
import { methodPath } from "@weir/kit/context";
import { findFields, type QueryParameter, queryParametersOf } from "./fields.ts";
import { parseTemplate, type PathTemplate, TemplateError } from "./template.ts";

/** A method and the ways to call it over HTTP. */
export interface HttpMethod {
  readonly method: DescMethod;
  /** At least one: the rule's own, then its additional bindings. */
  readonly bindings: readonly HttpBinding[];
}

/** One way to call a method over HTTP. */
export interface HttpBinding {
  /** In capitals; `*`: any. */
  readonly httpMethod: string;
  readonly template: PathTemplate;
  /** What the template's variables set, in their order. */
  readonly pathParameters: readonly PathParameter[];
  /** What may stand in the query: every leaf of the request that neither path nor body sets. In the order of the fields. */
  readonly queryParameters: readonly QueryParameter[];
  readonly body: BodyRule;
  /** The field of the response that is the answer's body; undefined: all of it. */
  readonly responseBody: DescField | undefined;
}

/** A field that is set by the path. */
export interface PathParameter {
  /** As the template has it: `budget.name`. */
  readonly fieldPath: string;
  /** From the request down to the field itself, which is a scalar or an enum. */
  readonly fields: readonly DescField[];
}

/** What a request's body is. */
export type BodyRule =
  /** There is none. */
  | { readonly kind: "none" }
  /** All of the request but what the path sets. */
  | { readonly kind: "all" }
  /** One field of the request, of any type. */
  | { readonly kind: "field"; readonly field: DescField };

/** Rules that cannot be served. The text has a line for each fault. */
export class RuleError extends Error {
  override readonly name = "RuleError";
  constructor(faults: readonly string[]) {
    super(`rules of google.api.http that cannot be served:\n${faults.join("\n")}`);
  }
}

/**
 * Resolves what google.api.http says of methods: how each is called over HTTP, in the order of the methods. Pure; the routes of
 * the edge and the API's documentation both stand on it.
 * @param methods those that public doors serve
 * @throws RuleError that tells all faults: a method without a rule; a template that cannot be read; a field that does not exist or
 *   cannot stand where the rule puts it; something in a request that no query can hold, where a rule has no body for it
 */
export function resolveHttpMethods(methods: readonly DescMethod[]): HttpMethod[] {
  const faults: string[] = [];
  const resolved = methods.map((method): HttpMethod => {
    const rule = getOption(method, http);
    const blame = (fault: string) => {
      faults.push(`${methodPath(method)}: ${fault}`);
    };
    if (rule.pattern.case === undefined) blame("it has no rule");
    else if (method.methodKind === "unary" || method.methodKind === "server_streaming") {
      return { method, bindings: readRules(method, rule, blame) };
    } else blame("its client streams, which has no form over HTTP");
    return { method, bindings: [] };
  });
  if (faults.length > 0) throw new RuleError(faults);
  return resolved;
}

function readRules(method: DescMethod, rule: HttpRule, blame: (fault: string) => void): HttpBinding[] {
  return [rule, ...rule.additionalBindings].flatMap((each) => {
    try {
      if (each !== rule && each.additionalBindings.length > 0) {
        throw new RuleFault("an additional binding has additional bindings");
      }
      return [readBinding(method, each)];
    } catch (thrown) {
      if (!(thrown instanceof RuleFault || thrown instanceof TemplateError)) throw thrown;
      blame(thrown.message);
      return [];
    }
  });
}

/** A fault of one rule. */
class RuleFault extends Error {}

const bodiless: ReadonlySet<string> = new Set(["GET", "HEAD", "DELETE"]);
// https://www.rfc-editor.org/rfc/rfc9110#section-9.1
const customKind = /^(?:\*|[A-Z][A-Z0-9-]*)$/;

function readBinding(method: DescMethod, rule: HttpRule): HttpBinding {
  const { httpMethod, path } = readPattern(rule);
  const template = parseTemplate(path);
  const body = readBody(method.input, rule.body);
  if (body.kind !== "none" && bodiless.has(httpMethod)) throw new RuleFault(`${httpMethod} has no body`);
  const pathParameters = template.variables.map(({ fieldPath }) => readPathParameter(method.input, fieldPath));
  for (const { fieldPath, fields } of pathParameters) {
    const isAll = fields.length === 1 && body.kind === "field" && body.field === fields[0];
    if (isAll) throw new RuleFault(`path and body both set ${fieldPath}`);
  }
  const query = body.kind === "all" ? { parameters: [], faults: [] } : queryParametersOf(method.input, isSet);
  if (query.faults.length > 0) throw new RuleFault(query.faults.join("; "));
  return {
    httpMethod,
    template,
    pathParameters,
    queryParameters: query.parameters,
    body,
    responseBody: readResponseBody(method, rule.responseBody),
  };

  /** Whether path or body set a field, named by its path. */
  function isSet(fields: readonly DescField[]): boolean {
    if (body.kind === "field" && fields[0] === body.field) return true;
    return pathParameters.some(
      (parameter) =>
        parameter.fields.length === fields.length && parameter.fields.every((field, at) => field === fields[at]),
    );
  }
}

function readPattern({ pattern }: HttpRule): { readonly httpMethod: string; readonly path: string } {
  switch (pattern.case) {
    case "custom": {
      const { kind, path } = pattern.value;
      if (!customKind.test(kind) || kind === "OPTIONS" || kind === "CONNECT") {
        throw new RuleFault(`${JSON.stringify(kind)} is no method that a rule may have`);
      }
      return { httpMethod: kind, path };
    }
    case undefined:
      throw new RuleFault("a binding has no path");
    default:
      return { httpMethod: pattern.case.toUpperCase(), path: pattern.value };
  }
}

function readPathParameter(input: DescMessage, fieldPath: string): PathParameter {
  const fields = findFields(input, fieldPath);
  const leaf = fields?.at(-1);
  if (fields === undefined || leaf === undefined) throw new RuleFault(`${input.typeName} has no field ${fieldPath}`);
  if (leaf.fieldKind !== "scalar" && leaf.fieldKind !== "enum") {
    throw new RuleFault(`${fieldPath} stands in the path and is no scalar or enum`);
  }
  return { fieldPath, fields };
}

function readBody(input: DescMessage, name: string): BodyRule {
  if (name === "") return { kind: "none" };
  if (name === "*") return { kind: "all" };
  const field = input.fields.find((each) => each.name === name);
  if (field === undefined) throw new RuleFault(`the body is ${name}, which ${input.typeName} does not have`);
  return { kind: "field", field };
}

/** The member that tells of a failure in a stream of JSON objects. */
export const failureMember = "error";

function readResponseBody({ output, methodKind }: DescMethod, name: string): DescField | undefined {
  const field = name === "" ? undefined : output.fields.find((each) => each.name === name);
  if (name !== "" && field === undefined) {
    throw new RuleFault(`the response body is ${name}, which ${output.typeName} does not have`);
  }
  const message = field === undefined ? output : field.fieldKind === "message" ? field.message : undefined;
  const isStream = methodKind === "server_streaming";
  if (isStream && message?.fields.some((each) => each.jsonName === failureMember)) {
    throw new RuleFault(`${message.typeName} has a field ${failureMember}, which tells of failures in streams`);
  }
  return field;
}
