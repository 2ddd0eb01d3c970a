import { globSync } from "node:fs";
import { join } from "node:path";
import { type DescService, getOption } from "@bufbuild/protobuf";
import { http } from "@weir/gen/google/api/annotations_pb";
import { access, Permission } from "@weir/gen/weir/common/v1/access_pb";
import { resolveHttpMethods } from "@weir/edge/transcode/rules";
import { createPublicMethods } from "@weir/edge/rpc/public-methods";
import { systemClock } from "@weir/kit/clock";
import { createMesh } from "@weir/kit/mesh";
import { expect, test } from "vitest";
import { clientsOfEdge } from "./edge.ts";

const gen = join(import.meta.dirname, "../../../gen/weir");
const modules: unknown[] = [];
for (const file of globSync("**/*_service_pb.ts", { cwd: gen })) modules.push(await import(join(gen, file)));
/** Every service that there is a proto of. */
const services = modules.flatMap((module) => Object.values(module as object)).filter(isService);

function isService(value: unknown): value is DescService {
  return typeof value === "object" && value !== null && "kind" in value && value.kind === "service";
}

const methods = services.flatMap((service) =>
  service.methods.map((method) => [`${service.typeName}.${method.name}`, method] as const),
);

test("there are services", () => {
  expect(services.length).toBeGreaterThan(10);
});

test.each(methods)("%s says who may call it, and has an HTTP rule unless it is the mesh's own", (_, method) => {
  const { permission, endpoint } = getOption(method, access);
  expect(permission).not.toBe(Permission.UNSPECIFIED);
  const open: readonly Permission[] = [Permission.PUBLIC, Permission.KNOWN, Permission.MESH];
  const isOpen = open.includes(permission);
  expect(endpoint === "").toBe(isOpen);
  expect(getOption(method, http).pattern.case !== undefined).toBe(permission !== Permission.MESH);
});

test("every service with a method for callers from outside is served by the edge, at every path of its rules", () => {
  const { rpc } = clientsOfEdge(createMesh({ name: "test" }), systemClock, () => ({}));
  const outside = methods
    .filter(([, method]) => getOption(method, access).permission !== Permission.MESH)
    .map(([name]) => name);
  const served = createPublicMethods(rpc).map(({ desc }) => desc);
  expect(served.map(({ parent, name }) => `${parent.typeName}.${name}`).sort()).toEqual(outside.sort());
  for (const { bindings } of resolveHttpMethods(served)) expect(bindings.length).toBeGreaterThan(0);
});
