import { execFileSync } from "node:child_process";
import { create } from "@bufbuild/protobuf";
import { RouteSchema } from "@weir/gen/weir/routing/v1/route_service_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import { pickModel, shellText, welcomeText } from "./welcome.ts";

const route = (alias: string, provider: string) =>
  create(RouteSchema, { name: `routes/${alias}`, alias, targets: [{ provider, model: alias }] });

test("the first model is the demo's, else a small one, never a pattern", () => {
  expect(pickModel([route("gpt-4o", "openai"), route("weir-demo", "demo")])).toBe("weir-demo");
  expect(pickModel([route("openai/*", "openai"), route("gpt-4o", "openai"), route("gpt-4o-mini", "openai")])).toBe(
    "gpt-4o-mini",
  );
  expect(pickModel([route("openai/*", "openai")])).toBeUndefined();
});

test("the key is shown when it is new, and only its place afterwards", () => {
  const common = {
    url: "http://127.0.0.1:1",
    grpc: "127.0.0.1:2",
    keyPath: "/x/key",
    model: "m",
    providers: new Map([["demo", "built in"]]),
    command: "weir",
  };
  const first = welcomeText({ ...common, key: { kind: "created", text: "weir_a_b_c" } });
  expect(first).toContain("weir_a_b_c");
  expect(first).toContain("http://127.0.0.1:1/v1/chat/completions");
  expect(first).toContain("gRPC       at 127.0.0.1:2");
  expect(welcomeText({ ...common, grpc: undefined, key: { kind: "elsewhere" } })).not.toContain("gRPC");
  const later = welcomeText({ ...common, key: { kind: "kept", text: "weir_a_b_c" } });
  expect(later).not.toContain("weir_a_b_c");
  expect(later).toContain("in /x/key");
  expect(later).toContain("$(cat /x/key)");
});

test("any text is one word of a shell", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom("'", '"', " ", "$", "\\", "a", "\n", "`", ";"), maxLength: 8 }),
      (text) => {
        const said = execFileSync("/bin/sh", ["-c", `printf %s ${text === "" ? "''" : shellText(text)}`], {
          encoding: "utf8",
        });
        expect(said).toBe(text);
      },
    ),
    { numRuns: 30 },
  );
});
