import { readStoredRequest } from "@weir/dialect/openai-responses/stored/request";
import type { OpenReply } from "../generate.ts";
import { asBuffer } from "./continued.ts";
import { RememberedCall, type RememberingDeps } from "./remembered-call.ts";

/** A chat for requests of OpenAI's Responses, with a memory. Requests that want none of it go straight through. */
export function createRememberingChat(deps: RememberingDeps): OpenReply {
  return (request, options, call) => {
    if (!wantsMemory(request.wire?.body, deps.settings().responses.store)) return deps.chat.generate(request, options);
    return new RememberedCall(deps, request, options, call).stream;
  };
}

const storeMark = Buffer.from('"store"');

/**
 * Whether a request is to be remembered, or refers to what was; one that will be refused for what it says of it counts, too.
 * @param isStoring whether anything is stored
 */
function wantsMemory(body: Uint8Array | undefined, isStoring: boolean): boolean {
  if (body === undefined) return false;
  const bytes = asBuffer(body);
  if (isStoring && !bytes.includes(storeMark)) return true;
  try {
    const { store, background, previousResponseId } = readStoredRequest(bytes);
    return (store && isStoring) || background || previousResponseId !== undefined;
  } catch {
    return true;
  }
}
