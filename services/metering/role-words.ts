import { Role } from "@weir/gen/weir/common/v1/access_pb";

/** Roles as tables have them. */
export type RoleWord = "member" | "analyst" | "auditor" | "admin" | "owner";

/** An unspecified role is a member's. */
const words: Readonly<Record<Role, RoleWord>> = {
  [Role.UNSPECIFIED]: "member",
  [Role.MEMBER]: "member",
  [Role.ANALYST]: "analyst",
  [Role.AUDITOR]: "auditor",
  [Role.ADMIN]: "admin",
  [Role.OWNER]: "owner",
};

const roles: Readonly<Record<RoleWord, Role>> = {
  member: Role.MEMBER,
  analyst: Role.ANALYST,
  auditor: Role.AUDITOR,
  admin: Role.ADMIN,
  owner: Role.OWNER,
};

/** A role that a later version has sent is a member's. */
export function roleWord(role: Role): RoleWord {
  return words[role] ?? "member";
}

export function roleOf(word: RoleWord): Role {
  return roles[word];
}
