import { readStoredRequest, type StoredRequest } from "@weir/dialect/openai-responses/stored/request";
import { ChatService, type GenerateRequest, type GenerateResponse } from "@weir/gen/weir/chat/v1/chat_service_pb";
import type { WireChunk } from "@weir/gen/weir/chat/v1/wire_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import {
  callMetadata,
  type Client,
  hasEnded,
  hostService,
  type Metadata,
  metadataNames,
  onCallEnd,
  requestMetadata,
} from "@weir/kit/call";
import { createClient } from "@weir/kit/client";
import { createLocalDoor } from "@weir/kit/local";
import type { Log } from "@weir/kit/log";
import { toWeirError, WeirError } from "@weir/kit/weir-error";
import type { EdgeSettings } from "../../config.ts";
import type { Archive, Ended } from "./archive.ts";
import type { BackgroundWork } from "./background.ts";
import type { ByteRoom } from "./byte-room.ts";
import { asBuffer, continued, readHistory } from "./continued.ts";
import { AnswerRecord } from "./record.ts";

export interface RememberingChatDeps {
  readonly chat: Pick<Client<typeof ChatService>, "generate">;
  readonly archive: Archive;
  readonly background: BackgroundWork;
  readonly room: ByteRoom;
  readonly settings: () => EdgeSettings;
  readonly log: Log;
}

/**
 * A chat for requests of OpenAI's Responses that knows what went before: it puts the turns that a request continues into its input,
 * stores what is answered before the last of it is handed on, and makes responses in the background. Requests that want none of
 * it go straight through.
 */
export function createRememberingChat(deps: RememberingChatDeps): Pick<Client<typeof ChatService>, "generate"> {
  const { chat, archive, background, room, settings, log } = deps;

  async function* generate(request: GenerateRequest, context: CallContext): AsyncGenerator<GenerateResponse> {
    const body = asBuffer(request.wire?.body ?? noBytes);
    const asked = readStoredRequest(body);
    const metadata = metadataOf(context);
    const { bodyBytesMax } = settings();
    const turns = await readHistory(archive, asked, bodyBytesMax - body.length, metadata, context.signal);
    if (hasEnded(context)) return;
    if (asked.background) {
      yield responseOf(await background.begin({ request, asked, turns, body, metadata }));
      return;
    }
    yield* record(continued(request, asked, turns), asked, metadata, context);
  }

  async function* record(
    request: GenerateRequest,
    asked: StoredRequest,
    metadata: Metadata,
    context: CallContext,
  ): AsyncGenerator<GenerateResponse> {
    const reply = chat.generate(request, { metadata, timeoutMs: context.timeoutMs() });
    onCallEnd(context, () => void reply.return());
    const { previousResponseId, input } = asked;
    const { bytesMax } = settings().responses;
    const answer = new AnswerRecord({ previousResponseId, input, bytesMax, room });
    const isKept = asked.store && !asked.inConversation;
    const keep = async (ended: Ended | undefined) => isKept && ended !== undefined && archive.keep(ended, metadata);
    try {
      for await (const message of reply) {
        const taken = message.payload.case === "wire" ? answer.take(message.payload.value) : undefined;
        switch (taken?.kind) {
          case "wait":
            break;
          case "instead":
            yield responseOf(taken.chunk);
            break;
          case "end":
            if (taken.before !== undefined) yield responseOf(taken.before);
            yield responseOf(taken.after((await keep(taken.ended)) || !asked.store));
            break;
          default:
            yield message;
        }
      }
      if (!hasEnded(context)) await keep(answer.failed(new WeirError(ErrorReason.STREAM_TRUNCATED)));
    } catch (thrown) {
      await keep(answer.failed(toWeirError(thrown)));
      throw thrown;
    } finally {
      // An answer that has ended leaves nothing to be kept here. Nobody waits for it any more.
      void keep(answer.left());
      answer.release();
    }
  }

  const hosted = hostService(ChatService, { generate }, { trustsMesh: true });
  const door = createLocalDoor([hosted], {
    onDefect: ({ thrown }) => log.error({ error: thrown }, "an answer could not be followed"),
  });
  const remembering = createClient(ChatService, door);
  return {
    generate(request, options) {
      return wantsState(request.wire?.body) ? remembering.generate(request, options) : chat.generate(request, options);
    },
  };
}

type CallContext = Parameters<typeof hasEnded>[0];

const storeMark = Buffer.from('"store"');

/** Whether a request is to be remembered, or refers to what was; one that will be refused for what it says of it counts, too. */
function wantsState(body: Uint8Array | undefined): boolean {
  if (body === undefined) return false;
  const bytes = asBuffer(body);
  if (!bytes.includes(storeMark)) return true;
  try {
    const { store, background, previousResponseId } = readStoredRequest(bytes);
    return store || background || previousResponseId !== undefined;
  } catch {
    return true;
  }
}

function metadataOf(context: CallContext): Metadata {
  return callMetadata(
    requestMetadata(context, metadataNames.principal),
    requestMetadata(context, metadataNames.requestId),
    requestMetadata(context, metadataNames.traceParent),
  );
}

function responseOf(value: WireChunk): GenerateResponse {
  return { $typeName: "weir.chat.v1.GenerateResponse", payload: { case: "wire", value } };
}

const noBytes = new Uint8Array();
