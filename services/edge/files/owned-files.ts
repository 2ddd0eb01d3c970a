import type { MessageInitShape } from "@bufbuild/protobuf";
import type {
  ChatService,
  CountTokensRequestSchema,
  CountTokensResponse,
  GenerateRequest,
  GenerateRequestSchema,
  GenerateResponse,
} from "@weir/gen/weir/chat/v1/chat_service_pb";
import type { CallOptions, Client } from "@weir/kit/call";
import type { ReplyStream } from "@weir/kit/reply-stream";
import { aliasOf } from "../routes/generate.ts";
import { openedAfter } from "../rpc/opened-after.ts";
import type { Reach } from "./collections.ts";
import { mayBeMadeModel, mayName, type Names } from "./kept-names.ts";
import type { OwnNames } from "./own-names.ts";
import { namesOfRequest } from "./request-names.ts";

/** What a door says of a call of a chat. */
export interface ChatOptions extends CallOptions {
  /** Who calls: what a caller is confined to is known to this process alone, and does not travel. */
  readonly caller: Reach | undefined;
  /**
   * What the client itself sent, where a stored response of its tenant was put before it: what that names was the tenant's to name, or
   * a provider's to tell it.
   */
  readonly sent?: GenerateRequest;
}

/** A chat as the doors of the edge call it. */
export interface EdgeChat {
  generate(request: RequestInit, options: ChatOptions): ReplyStream<GenerateResponse>;
  countTokens(
    request: MessageInitShape<typeof CountTokensRequestSchema>,
    options: ChatOptions,
  ): Promise<CountTokensResponse>;
}

/**
 * Chats in which callers name only what is theirs, see OwnNames. Requests that name nothing pass at once; the others wait until it is
 * known whose that is, and fail when that cannot be found out.
 */
export function withOwnedFiles(
  chat: Client<typeof ChatService>,
  ownNames: Pick<OwnNames, "check">,
): EdgeChat & Client<typeof ChatService> {
  async function check(request: GenerateRequest, options: Partial<ChatOptions> = {}): Promise<undefined> {
    const { metadata = {}, caller, sent } = options;
    const names = sent === undefined ? namesOfRequest(request) : withoutResponse(namesOfRequest(sent));
    await ownNames.check(names, { caller, metadata, alias: aliasOf(request.model) });
  }

  return {
    ...chat,
    generate(request: RequestInit, options?: Partial<ChatOptions>) {
      if (!isSuspect(request, options?.sent)) return chat.generate(request, options);
      return openedAfter(check(request, options), () => chat.generate(request, options));
    },
    async countTokens(message: MessageInitShape<typeof CountTokensRequestSchema>, options?: Partial<ChatOptions>) {
      const { request } = message;
      if (request !== undefined && isSuspect(request, options?.sent)) await check(request, options);
      return chat.countTokens(message, options);
    },
  };
}

type RequestInit = MessageInitShape<typeof GenerateRequestSchema>;

/** Whether a request may name something. Doors send whole messages. */
function isSuspect(request: RequestInit, sent: GenerateRequest | undefined): request is GenerateRequest {
  const whole = sent ?? (request as GenerateRequest);
  if (mayBeMadeModel(whole.model)) return true;
  if (whole.wire !== undefined) return mayName(whole.wire.body);
  const { ids, members } = namesOfRequest(whole);
  return ids.length + members.length > 0;
}

/** A response that was put into the request is Weir's own, by whoever's id it goes. */
function withoutResponse(names: Names): Names {
  return { ...names, members: names.members.filter((member) => member !== "previous_response_id") };
}
