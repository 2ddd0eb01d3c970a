import { globSync } from "node:fs";
import { join } from "node:path";
import type { DescService } from "@bufbuild/protobuf";
import { methodPath } from "@weir/kit/context";
import { expect, test } from "vitest";
import { mayCallMethod } from "./mesh-callers.ts";

const generated = join(import.meta.dirname, "../../gen/weir");

async function allServices(): Promise<readonly DescService[]> {
  const files = globSync("**/*_service_pb.ts", { cwd: generated });
  const modules = await Promise.all(files.map((file) => import(join(generated, file)) as Promise<object>));
  return modules.flatMap((exported) =>
    Object.values(exported).filter(
      (value): value is DescService => (value as DescService | undefined)?.kind === "service",
    ),
  );
}

const identities = ["edge", "router", "pool", "metering", "operator"];

test("every method of every service is for somebody, and no identity is for everything", async () => {
  const methods = (await allServices())
    .filter(({ typeName }) => typeName !== "weir.link.v1.LinkService")
    .flatMap(({ methods: all }) => all.map(methodPath));
  expect(methods.length).toBeGreaterThan(40);
  for (const method of methods) {
    const callers = identities.filter((identity) => mayCallMethod([identity], method));
    expect(callers, method).not.toEqual([]);
    expect(callers, method).not.toContain("metering");
    expect(callers.length, method).toBeLessThanOrEqual(2);
  }
});

test.each([
  ["weir.chat.v1.ChatService/Generate", ["edge", "operator"]],
  ["weir.routing.v1.AttemptService/RunAttempt", ["router"]],
  ["weir.account.v1.BudgetService/AcquireLeases", ["pool"]],
  ["weir.account.v1.BudgetService/CreateBudget", ["edge", "operator"]],
  ["weir.account.v1.AccountService/WatchKeys", ["edge"]],
  ["weir.account.v1.AuditService/RecordRefusals", ["edge"]],
  ["weir.metering.v1.UsageService/RecordUsage", ["pool"]],
  ["weir.metering.v1.RequestService/RecordRequests", ["edge"]],
  ["weir.idempotency.v1.IdempotencyService/ClaimKey", ["edge"]],
  ["weir.nowhere.v1.NoService/Nothing", []],
  ["grpc.health.v1.Health/Check", identities],
])("%s is for %j", (method, callers) => {
  expect(identities.filter((identity) => mayCallMethod([identity], method))).toEqual(callers);
  expect(mayCallMethod(["stranger"], method)).toBe(method.startsWith("grpc."));
});
