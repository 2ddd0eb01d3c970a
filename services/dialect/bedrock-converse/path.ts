/** What the path of a Converse request says. */
export interface ConversePath {
  /** A model's id, or an ARN. */
  readonly model: string;
  readonly stream: boolean;
}

/**
 * The path of a request. The id is one segment, so that the `:` of versions and the `/` of ARNs are escaped, as AWS's own
 * clients do: `/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse`. SigV4 signs this path escaped once more.
 * https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
 */
export function conversePath({ model, stream }: ConversePath): string {
  return `/model/${escapeSegment(model)}/converse${stream ? "-stream" : ""}`;
}

/** Reads the path of a request; undefined when it is of another operation, or not escaped rightly. */
export function readConversePath(path: string): ConversePath | undefined {
  const [, segment, streamed] = shape.exec(path) ?? [];
  if (segment === undefined) return undefined;
  try {
    return { model: decodeURIComponent(segment), stream: streamed !== undefined };
  } catch {
    return undefined;
  }
}

const shape = /^\/model\/([^/?]+)\/converse(-stream)?$/;

/** https://www.rfc-editor.org/rfc/rfc3986#section-2.3: all but unreserved characters are escaped. */
function escapeSegment(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}
