import { invalid } from "@weir/dialect/faults";
import { openaiResponses } from "@weir/dialect/openai-responses/codec";
import type { ConversationService } from "@weir/gen/weir/conversation/v1/conversation_service_pb";
import type { Client } from "@weir/kit/call";
import type { Log } from "@weir/kit/log";
import { type CountDialect, createCountTokens } from "../count-tokens.ts";
import { createGenerate, type GenerateDeps } from "../generate.ts";
import { callsModels, type Route, versionedAsOpenai } from "../route.ts";
import { createArchive } from "./archive.ts";
import { createBackgroundWork } from "./background.ts";
import { createByteRoom } from "./byte-room.ts";
import { createContinuedCount } from "./continued-count.ts";
import { createRememberingChat } from "./remembering-chat.ts";
import { createStoredRoutes } from "./stored-routes.ts";

export interface ResponsesDeps extends GenerateDeps {
  readonly conversations: Client<typeof ConversationService>;
  readonly log: Log;
}

/** OpenAI's Responses, with all that clients may come back for. */
export interface Responses {
  readonly routes: readonly Route[];
  /** Takes no more work in the background, and resolves when all that was begun is stored. */
  finish(): Promise<void>;
  /** Gives up the work in the background; what was made of it is stored as failed, if the store answers. */
  giveUp(): Promise<void>;
  /** Ends everything at once. */
  close(): void;
}

/** Most bytes of answers that are held until they are stored, and of conversations that are on their way to a provider. */
const heldBytesMax = 256 * 1024 * 1024;

/** https://platform.openai.com/docs/api-reference/responses/input-tokens */
const inputTokens: CountDialect = {
  codec: openaiResponses,
  toRequest(body) {
    if ((body["conversation"] ?? null) === null) return body;
    throw invalid(
      "A `conversation` is kept by its provider and cannot be counted; put its items into `input`.",
      "conversation",
    );
  },
  write: (count) => JSON.stringify({ object: "response.input_tokens", input_tokens: count }),
};

export function createResponses(deps: ResponsesDeps): Responses {
  const { chat, conversations, settings, clock, log } = deps;
  const timeToLiveMs = () => settings().responses.timeToLiveMs;
  const archive = createArchive({ conversations, timeToLiveMs, log });
  const room = createByteRoom(heldBytesMax);
  const background = createBackgroundWork({ chat, conversations, room, settings, clock, log });
  const openReply = createRememberingChat({ chat, archive, background, room, settings, clock });
  const counting = createContinuedCount({ ...deps, archive, room });
  const handle = createGenerate({ ...deps, openReply }, openaiResponses, "/v1/responses");
  return {
    routes: [
      ...versionedAsOpenai({
        method: "POST",
        path: "/responses",
        access: callsModels("responses"),
        voice: openaiResponses,
        handle,
      }),
      ...versionedAsOpenai({
        method: "POST",
        path: "/responses/input_tokens",
        access: callsModels("responses"),
        voice: openaiResponses,
        handle: createCountTokens({ ...deps, chat: counting }, inputTokens),
      }),
      ...createStoredRoutes(archive, deps.memory),
    ],
    async finish() {
      await Promise.all([background.finish(), archive.idle()]);
    },
    giveUp: () => background.giveUp(),
    close: () => background.close(),
  };
}
