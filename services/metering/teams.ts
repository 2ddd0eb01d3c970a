import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import { type TeamService, TeamSchema } from "@weir/gen/weir/account/v1/team_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { confinementOf, noSuch, tenantFor } from "./confinement.ts";
import { limitsField, limitsJson } from "./key-messages.ts";
import { readPage } from "./list-page.ts";
import type { TeamRow, TeamStore } from "./team-store.ts";
import { changedFields } from "./update-mask.ts";
import type { Waiting } from "./waiting.ts";

export interface TeamsDependencies {
  readonly store: TeamStore;
  /** Of the streams of WatchKeys. */
  readonly waiting: Waiting;
}

export function createTeams({ store, waiting }: TeamsDependencies): ServiceImpl<typeof TeamService> {
  return {
    async createTeam({ tenant, teamId: localId, displayName, limits }, context) {
      const by = confinementOf(context);
      const tenantId = tenantFor(by, tenant);
      const teamId = `${tenantId}.${localId}`;
      const made = await store.create(by, {
        teamId,
        tenantId,
        displayName: displayName.toWellFormed(),
        limits: limitsJson(limits),
      });
      if (made === "no tenant") throw noSuch(`tenants/${tenantId}`);
      if (made === "taken") throw alreadyExists(`teams/${teamId}`);
      waiting.wakeAll();
      return { team: toProtoTeam(made) };
    },

    async listTeams(request, context) {
      const by = confinementOf(context);
      const tenantId = request.tenant.replace(/^tenants\//, "");
      const { rows, nextPageToken } = await readPage(
        request,
        ["teams", tenantId],
        ([after = ""], countMax) => store.list(by, tenantId, after, countMax),
        (row) => [row.teamId],
      );
      return { teams: rows.map(toProtoTeam), nextPageToken };
    },

    async getTeam({ name }, context) {
      const row = await store.get(confinementOf(context), idOf(name));
      if (!row) throw noSuch(name);
      return { team: toProtoTeam(row) };
    },

    async updateTeam({ name, displayName, limits, disabled, updateMask }, context) {
      const by = confinementOf(context);
      const fields = changedFields(updateMask, {
        display_name: displayName !== undefined,
        limits: limits !== undefined,
        disabled: disabled !== undefined,
      });
      const row = await store.update(by, idOf(name), {
        ...(fields.has("display_name") && { displayName: displayName?.toWellFormed() ?? "" }),
        ...(fields.has("limits") && { limits: limitsJson(limits) }),
        ...(fields.has("disabled") && { disabled: disabled ?? false }),
      });
      if (!row) throw noSuch(name);
      waiting.wakeAll();
      return { team: toProtoTeam(row) };
    },

    async deleteTeam({ name }, context) {
      const by = confinementOf(context);
      const outcome = await store.remove(by, idOf(name));
      if (outcome === undefined) throw noSuch(name);
      if (outcome === "in use") {
        throw new WeirError(ErrorReason.INVALID_REQUEST, {
          text: "The team has users or live keys; move or end them first.",
          metadata: { param: "name" },
        });
      }
      waiting.wakeAll();
      return {};
    },
  };
}

function idOf(name: string): string {
  return name.slice("teams/".length);
}

/** An id that was deleted is taken, too. */
function alreadyExists(resource: string): WeirError {
  return new WeirError(ErrorReason.ALREADY_EXISTS, { metadata: { resource } });
}

function toProtoTeam(row: TeamRow) {
  return create(TeamSchema, {
    name: `teams/${row.teamId}`,
    tenant: `tenants/${row.tenantId}`,
    displayName: row.displayName,
    ...limitsField(row.limits),
    disabled: row.disabled,
    createTime: timestampFromDate(row.createTime),
  });
}
