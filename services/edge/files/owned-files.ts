import { fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import type {
  ChatService,
  CountTokensRequestSchema,
  CountTokensResponse,
  GenerateRequest,
  GenerateRequestSchema,
  GenerateResponse,
} from "@weir/gen/weir/chat/v1/chat_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import type { ResourceService } from "@weir/gen/weir/passthrough/v1/resource_service_pb";
import { type CallOptions, type Client, type Metadata, metadataNames } from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import type { ReplyStream } from "@weir/kit/reply-stream";
import { WeirError } from "@weir/kit/weir-error";
import { openedAfter } from "../rpc/opened-after.ts";
import { checkReach, collectionsAmong, isConfined, type Reach } from "./collections.ts";
import { mayNameFiles, namedFiles, namesUnrecorded } from "./named-files.ts";

/** What a door says of a call of a chat. */
export interface ChatOptions extends CallOptions {
  /** Who calls: what a caller is confined to is known to this process alone, and does not travel. */
  readonly caller: Reach | undefined;
}

/** A chat as the doors of the edge call it. */
export interface EdgeChat {
  generate(request: RequestInit, options: ChatOptions): ReplyStream<GenerateResponse>;
  countTokens(
    request: MessageInitShape<typeof CountTokensRequestSchema>,
    options: ChatOptions,
  ): Promise<CountTokensResponse>;
}

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

/** What is known of an id. */
interface Known {
  readonly resourceId: string;
  readonly kind: string;
  readonly untilMs: number;
}

/**
 * Chats in which callers may name only files and vector stores that are their tenant's, and of the latter those that they are not
 * confined away from. Requests that name none pass at once; the others wait until their ids are known to be the tenant's, and fail
 * when that cannot be found out. Fails also with NOT_FOUND, as if they were not there, for ids of others and of nobody; with FORBIDDEN
 * when the door does not say who calls, and for stores of which nothing is on record when the caller is confined.
 */
export function withOwnedFiles({ chat, resources, clock }: OwnedFilesDeps): EdgeChat & Client<typeof ChatService> {
  /** By tenant and id; the one that was asked about longest ago comes first. */
  const known = new Map<string, Known>();

  async function check(request: GenerateRequest, options: Partial<ChatOptions> = {}): Promise<undefined> {
    const { metadata = {}, caller } = options;
    if (caller !== undefined && isConfined(caller) && namesUnrecorded(request)) {
      throw new WeirError(ErrorReason.FORBIDDEN, {
        text: "This API key is confined to some collections, and the request names stores of which nothing is on record here.",
        metadata: { scope: "collections" },
      });
    }
    const ids = namedFiles(request);
    if (ids.length > filesMax) {
      throw new WeirError(ErrorReason.INVALID_REQUEST, { text: "The request names too many files." });
    }
    if (ids.length === 0) return;
    const tenant = tenantOf(metadata);
    if (caller === undefined) throw new WeirError(ErrorReason.FORBIDDEN);
    const nowMs = clock.monotonic();
    const named: Known[] = [];
    const resourceIds: string[] = [];
    for (const id of ids) {
      const own = known.get(`${tenant}\n${id}`);
      if (own !== undefined && own.untilMs > nowMs) named.push(own);
      else resourceIds.push(id);
    }
    if (resourceIds.length > 0) {
      if (resourceIds.some((id) => id.length > idCharsMax)) throw new WeirError(ErrorReason.NOT_FOUND);
      const found = await resources.findResources({ resourceIds }, { metadata, timeoutMs });
      for (const { resourceId, kind } of found.resources) {
        const own = { resourceId, kind, untilMs: nowMs + knownMs };
        remember(`${tenant}\n${resourceId}`, own);
        named.push(own);
      }
    }
    checkReach(collectionsAmong(named), caller);
  }

  function remember(key: string, own: Known): void {
    known.delete(key);
    if (known.size >= knownMax) known.delete(known.keys().next().value as string);
    known.set(key, own);
  }

  return {
    ...chat,
    generate(request: RequestInit, options?: Partial<ChatOptions>) {
      if (!isSuspect(request, options?.caller)) return chat.generate(request, options);
      return openedAfter(check(request, options), () => chat.generate(request, options));
    },
    async countTokens(message: MessageInitShape<typeof CountTokensRequestSchema>, options?: Partial<ChatOptions>) {
      const { request } = message;
      if (request !== undefined && isSuspect(request, options?.caller)) await check(request, options);
      return chat.countTokens(message, options);
    },
  };
}

const idCharsMax = 256;

type RequestInit = MessageInitShape<typeof GenerateRequestSchema>;

/** Whether a request may name files, or its caller may not name all there are. Doors send whole messages. */
function isSuspect(request: RequestInit, caller: Reach | undefined): request is GenerateRequest {
  const { wire } = request as GenerateRequest;
  if (caller !== undefined && isConfined(caller)) return true;
  return wire === undefined ? namedFiles(request as GenerateRequest).length > 0 : mayNameFiles(wire.body);
}

/** @throws WeirError FORBIDDEN when nobody calls */
function tenantOf(metadata: Metadata): string {
  const { tenant } = fromBinary(PrincipalSchema, Buffer.from(metadata[metadataNames.principal] ?? "", "base64"));
  if (tenant === "") throw new WeirError(ErrorReason.FORBIDDEN);
  return tenant;
}
