import { type JsonValue, toJson } from "@bufbuild/protobuf";
import { createRouteTable } from "../../http/route-table.ts";
import { bindRequest } from "../bind.ts";
import { readQuery } from "../query.ts";
import { resolveHttpMethods } from "../rules.ts";
import { createTestService, type RuleInit, type SchemaInit } from "./schema.ts";

/**
 * Sends calls, `GET /v1/a?b=c` and a body, to whichever method of a service answers at that path.
 * @returns the request that it would get, as proto JSON under the method's name, or `not found`
 */
export function receive(init: SchemaInit) {
  const service = createTestService(init);
  const rows = resolveHttpMethods(service.methods).flatMap(({ method, bindings }) =>
    bindings.map((binding) => ({
      method: binding.httpMethod,
      path: binding.template.text,
      keepsSlashes: true,
      desc: method,
      binding,
    })),
  );
  const table = createRouteTable(rows);
  return (line: string, body = ""): JsonValue => {
    const [httpMethod = "", target = ""] = line.split(" ");
    const found = table.find(target.split("?")[0] ?? "", httpMethod);
    if (found?.row === undefined) return "not found";
    const { desc, binding } = found.row;
    const message = bindRequest(desc, binding, { params: found.params, query: readQuery(target), body });
    return { [desc.name]: toJson(desc.input, message) };
  };
}

/** As receive, for the one method `Call` of a `Request`. */
export function receiveOne(messages: SchemaInit["messages"], rule: RuleInit, enums: SchemaInit["enums"] = {}) {
  return receive({
    messages: { ...messages, Message: { text: "string" } },
    enums,
    methods: { Call: { types: "Request -> Message", rule } },
  });
}

export const get = (value: string): RuleInit => ({ pattern: { case: "get", value } });
export const patch = (value: string, body: string): RuleInit => ({ pattern: { case: "patch", value }, body });
