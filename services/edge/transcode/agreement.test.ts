import { globSync } from "node:fs";
import { join } from "node:path";
import {
  clone,
  type DescField,
  type DescMessage,
  type DescMethod,
  type DescService,
  equals,
  getOption,
  type JsonObject,
  type JsonValue,
  type Message,
  toJson,
} from "@bufbuild/protobuf";
import { reflect, type ReflectMessage } from "@bufbuild/protobuf/reflect";
import { access, Permission } from "@weir/gen/weir/common/v1/access_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import { createRouteTable } from "../http/route-table.ts";
import { createAnswerWriter } from "./answer.ts";
import { bindRequest } from "./bind.ts";
import { parseStrict } from "./json.ts";
import { readMessage } from "./message-json.ts";
import { readQuery } from "./query.ts";
import { type HttpBinding, resolveHttpMethods } from "./rules.ts";
import { createRandom, type Random, randomMessage, randomText } from "./testing/random-message.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1_000);

const gen = join(import.meta.dirname, "../../../gen/weir");
const modules: unknown[] = [];
for (const file of globSync("**/*_service_pb.ts", { cwd: gen })) modules.push(await import(join(gen, file)));
const services = modules.flatMap((module) => Object.values(module as object)).filter(isService);

function isService(value: unknown): value is DescService {
  return typeof value === "object" && value !== null && "kind" in value && value.kind === "service";
}

/** Every method that callers from outside may reach, in every way. */
const ways = resolveHttpMethods(
  services.flatMap(({ methods }) =>
    methods.filter((method) => getOption(method, access).permission !== Permission.MESH),
  ),
).flatMap(({ method, bindings }) =>
  bindings.map((binding) => ({
    label: `${method.parent.typeName}.${method.name} as ${binding.httpMethod} ${binding.template.text}`,
    desc: method,
    binding,
    method: binding.httpMethod,
    path: binding.template.text,
    keepsSlashes: true,
  })),
);
const table = createRouteTable(ways);

test("there are methods", () => {
  expect(ways.length).toBeGreaterThan(30);
});

/** What a client may not encode in a value of several segments, and in one of a single segment. */
const plainInPath = /[^-_.~/0-9a-zA-Z]/gu;
const plainInSegment = /[^-_.~0-9a-zA-Z]/gu;

/** A path that fits a template, and the values of its variables. */
function randomPath({ template }: HttpBinding, random: Random): { path: string; values: Map<string, string> } {
  const texts = template.segments.map((segment) => {
    const some = () => randomText(random).replaceAll("/", "") || "x";
    if (segment.kind === "literal") return segment.text;
    return segment.kind === "one" ? some() : [some(), some()].slice(Math.floor(random() * 2)).join("/");
  });
  const values = new Map<string, string>();
  const written = texts.map((text) => text.replaceAll(plainInPath, encodeURIComponent));
  for (const { fieldPath, start, end, isMulti } of template.variables) {
    if (!isMulti) {
      const value = randomText(random) || "x";
      values.set(fieldPath, value);
      written[start] = value.replaceAll(plainInSegment, encodeURIComponent);
    } else values.set(fieldPath, texts.slice(start, end).join("/"));
  }
  return { path: `/${written.join("/")}${template.verb === "" ? "" : `:${template.verb}`}`, values };
}

/** The message in which a path's last field stands; undefined: there is none. */
function parentIn(message: ReflectMessage, fields: readonly DescField[]): ReflectMessage | undefined {
  let at: ReflectMessage = message;
  for (const field of fields.slice(0, -1)) {
    if (field.fieldKind !== "message" || !at.isSet(field)) return undefined;
    at = at.get(field);
  }
  return at;
}

function queryOf(request: ReflectMessage, { queryParameters }: HttpBinding, random: Random): string {
  const pairs: [string, string][] = [];
  for (const { fields, name, jsonName } of queryParameters) {
    const leaf = fields.at(-1) as DescField;
    const parent = parentIn(request, fields);
    if (parent === undefined || !parent.isSet(leaf)) continue;
    const json = toJson(parent.desc, parent.message) as JsonObject;
    const value = json[leaf.jsonName];
    for (const item of Array.isArray(value) ? value : [value]) {
      pairs.push([random() < 0.5 ? name : jsonName, typeof item === "string" ? item : JSON.stringify(item)]);
    }
  }
  return new URLSearchParams(pairs).toString();
}

/** Takes messages away in which nothing is set: a query cannot say that they are there. */
function dropEmpty(message: ReflectMessage, but: DescField | undefined): void {
  for (const field of message.fields) {
    if (field === but || field.fieldKind !== "message" || !message.isSet(field)) continue;
    const inner = message.get(field);
    if (inner.desc.typeName.startsWith("google.protobuf.")) continue;
    dropEmpty(inner, undefined);
    if (inner.fields.every((each) => !inner.isSet(each))) message.clear(field);
  }
}

function bodyOf(request: ReflectMessage, { body, pathParameters }: HttpBinding, random: Random): string {
  const json = toJson(request.desc, request.message, { useProtoFieldName: random() < 0.5 }) as JsonObject;
  if (body.kind === "none") return "";
  if (body.kind === "field") return JSON.stringify(json[body.field.jsonName] ?? json[body.field.name] ?? null);
  for (const { fields } of pathParameters) {
    const [field] = fields;
    // A client may leave it out or say it again.
    if (field !== undefined && fields.length === 1 && random() < 0.5) {
      delete json[field.name];
      delete json[field.jsonName];
    }
  }
  return JSON.stringify(json);
}

/** Writes a message as a call, as a client would, and binds the call. */
function throughHttp(desc: DescMethod, binding: HttpBinding, message: Message, random: Random): Message {
  const request = reflect(desc.input, message);
  const { path, values } = randomPath(binding, random);
  for (const { fields, fieldPath } of binding.pathParameters) {
    const parent = parentIn(request, fields);
    // Of these services only texts at the top stand in paths.
    parent?.set(fields.at(-1) as DescField, values.get(fieldPath) ?? "");
  }
  if (binding.body.kind !== "all") dropEmpty(request, binding.body.kind === "field" ? binding.body.field : undefined);
  const query = queryOf(request, binding, random);
  const found = table.find(path, binding.httpMethod);
  expect(found?.row?.path).toBe(binding.template.text);
  return bindRequest(desc, binding, {
    params: found?.params ?? {},
    query: readQuery(query === "" ? path : `${path}?${query}`),
    body: bodyOf(request, binding, random),
  });
}

test.each(ways.map(({ label, desc, binding }) => [label, desc, binding] as const))(
  "requests of %s survive the way through path, query and body",
  (_, desc, binding) => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const random = createRandom(seed);
        const message = randomMessage(desc.input, random);
        const bound = throughHttp(desc, binding, message, random);
        expectSame(desc.input, bound, message);
      }),
      { numRuns },
    );
  },
);

test.each(ways.map(({ label, desc, binding }) => [label, desc, binding] as const))(
  "answers of %s survive the way through JSON",
  (_, { output }, { responseBody }) => {
    const write = createAnswerWriter(output, responseBody);
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const message = randomMessage(output, createRandom(seed));
        const text = write(message);
        const whole = responseBody === undefined ? text : `{${JSON.stringify(responseBody.jsonName)}:${text}}`;
        expectSame(output, readMessage(output, parseStrict(whole)), message);
      }),
      { numRuns },
    );
  },
);

function expectSame(schema: DescMessage, one: Message, other: Message): void {
  if (equals(schema, one, other)) return;
  expect(jsonOf(schema, one)).toEqual(jsonOf(schema, other));
  throw new Error("the messages differ in what JSON does not tell");
}

function jsonOf(schema: DescMessage, message: Message): JsonValue {
  return toJson(schema, clone(schema, message));
}
