import { fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import type { ChatService, GenerateRequest, GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import type { ResourceService } from "@weir/gen/weir/passthrough/v1/resource_service_pb";
import { type Client, type Metadata, metadataNames } from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import { WeirError } from "@weir/kit/weir-error";
import { openedAfter } from "../rpc/opened-after.ts";
import { mayNameFiles, namedFiles } from "./named-files.ts";

export interface OwnedFilesDeps {
  readonly chat: Client<typeof ChatService>;
  readonly resources: Pick<Client<typeof ResourceService>, "findResources">;
  readonly clock: Clock;
}

const timeoutMs = 5_000;
const filesMax = 1_000;
/** What was found to be a tenant's stays known for so long: ids are not given twice. */
const knownMs = 60_000;
const knownMax = 10_000;

/**
 * Chats in which callers may name only files and vector stores that are their tenant's. Requests that name none pass at once; the
 * others wait until their ids are known to be the tenant's, and fail when that cannot be found out.
 * Fails also with NOT_FOUND, as if they were not there, for ids of others and of nobody.
 */
export function withOwnedFiles({ chat, resources, clock }: OwnedFilesDeps): Client<typeof ChatService> {
  /** By tenant and id, until when; the one that was asked about longest ago comes first. */
  const known = new Map<string, number>();

  async function check(request: GenerateRequest, metadata: Metadata = {}): Promise<undefined> {
    const ids = namedFiles(request);
    if (ids.length > filesMax) {
      throw new WeirError(ErrorReason.INVALID_REQUEST, { text: "The request names too many files." });
    }
    const tenant = tenantOf(metadata);
    const nowMs = clock.monotonic();
    const resourceIds = ids.filter((id) => !((known.get(`${tenant}\n${id}`) ?? 0) > nowMs));
    if (resourceIds.length === 0) return;
    if (resourceIds.some((id) => id.length > idCharsMax)) throw new WeirError(ErrorReason.NOT_FOUND);
    await resources.findResources({ resourceIds }, { metadata, timeoutMs });
    for (const id of resourceIds) remember(`${tenant}\n${id}`, nowMs + knownMs);
  }

  function remember(key: string, untilMs: number): void {
    known.delete(key);
    if (known.size >= knownMax) known.delete(known.keys().next().value as string);
    known.set(key, untilMs);
  }

  return {
    ...chat,
    generate(request, options) {
      if (!isSuspect(request)) return chat.generate(request, options);
      return openedAfter(check(request, options?.metadata), () => chat.generate(request, options));
    },
    async countTokens(message, options) {
      const { request } = message;
      if (request !== undefined && isSuspect(request)) await check(request, options?.metadata);
      return chat.countTokens(message, options);
    },
  };
}

const idCharsMax = 256;

type RequestInit = MessageInitShape<typeof GenerateRequestSchema>;

/** Whether a request may name files. Doors send whole messages. */
function isSuspect(request: RequestInit): request is GenerateRequest {
  const { wire } = request as GenerateRequest;
  return wire === undefined ? namedFiles(request as GenerateRequest).length > 0 : mayNameFiles(wire.body);
}

/** @throws WeirError FORBIDDEN when nobody calls */
function tenantOf(metadata: Metadata): string {
  const { tenant } = fromBinary(PrincipalSchema, Buffer.from(metadata[metadataNames.principal] ?? "", "base64"));
  if (tenant === "") throw new WeirError(ErrorReason.FORBIDDEN);
  return tenant;
}
