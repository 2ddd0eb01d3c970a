import { create } from "@bufbuild/protobuf";
import { TenantSchema } from "@weir/gen/weir/account/v1/account_service_pb";
import { UserSchema } from "@weir/gen/weir/account/v1/user_service_pb";
import { afterEach, expect, test, vi } from "vitest";
import { chosenChanges, standingText, writeList } from "./account-list.ts";

const written: string[] = [];
const write = vi.spyOn(process.stdout, "write").mockImplementation((text) => written.push(String(text)) > 0);

afterEach(() => {
  written.length = 0;
  write.mockClear();
});

const tenant = create(TenantSchema, {
  name: "tenants/research",
  displayName: "Research",
  limits: { requestsPerMinute: 60 },
});

test("a list is a table for people, with what is special to it behind the names", () => {
  const user = create(UserSchema, { name: "users/research.ada", displayName: "Ada", disabled: true });
  writeList(UserSchema, [user], {}, "user", [{ title: "email", text: ({ email }) => email || "none" }]);
  expect(written.join("").split("\n")).toEqual([
    "user          name  email  state     limits of all keys together  created",
    "research.ada  Ada   none   disabled  -",
    "",
  ]);
});

test("a list is one JSON object for each line for programs", () => {
  writeList(TenantSchema, [tenant, tenant], { json: true }, "tenant");
  const lines = written.map((line) => JSON.parse(line) as object);
  expect(lines).toEqual([tenant, tenant].map(({ name }) => expect.objectContaining({ name, displayName: "Research" })));
});

test("an update says what was chosen, and nothing else", () => {
  expect(chosenChanges({})).toEqual({});
  expect(chosenChanges({ name: "", limits: true, requestsPerMinute: 5 })).toEqual({
    displayName: "",
    limits: { requestsPerMinute: 5 },
  });
  expect(chosenChanges({ limits: false, disable: true })).toEqual({ limits: {}, disabled: true });
  expect(standingText(tenant)).toBe("live, limits 60 requests/min");
});
