import { ConversationService } from "@weir/gen/weir/conversation/v1/conversation_service_pb";
import { createClient } from "@weir/kit/client";
import { createLocalDoor } from "@weir/kit/local";

/** A store that is away. */
export const noConversations = createClient(ConversationService, createLocalDoor([]));
