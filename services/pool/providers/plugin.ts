import type { Codec, ProviderError } from "@weir/dialect/codec";

/**
 * How a provider of kind `plugin` is called. Its module exports one as `provider`; weir.yaml has the rest, as for any provider: the base
 * URL, keys, limits, capabilities. See docs/providers/plugin.md.
 */
export interface ProviderPlugin {
  /**
   * Public dialects that the provider speaks, as weir.yaml names them (`openai-chat`). A request in one of them goes through as bytes; the
   * first one is for translated requests, unless there is a `codec`. At least this or `codec`.
   */
  readonly dialects?: readonly string[];
  /** A format of the provider's own, into which every request is translated that is in none of `dialects`. */
  readonly codec?: TargetCodec;
  /**
   * Path and query of a call below the base URL; begins with `/`.
   * @param model the target's model, as it came: encode it
   * @param dialect the name of the dialect, or of the codec, in which the call is made
   */
  path(model: string, stream: boolean, dialect: string): string;
  /**
   * Headers that prove who calls; asked once for each key when the configuration is read. Not those that Weir sets itself.
   * @param key one of `api_key` and `api_keys`; undefined when the provider has none
   */
  headers(key: string | undefined): Readonly<Record<string, string>>;
  /**
   * The HTTP status that an answer with an error stands for, where the provider's own misleads: 401 for a key that is refused, 429 for a
   * rate limit, 400 for a request at fault, 503 for an outage. Undefined: its own.
   * @param error what the dialect's or the codec's `readError` found in the body
   */
  judge?(status: number, error: ProviderError | undefined): number | undefined;
}

/**
 * The half of a codec that speaks with providers. A whole codec is one, so that a format that is like a public dialect may begin with that
 * dialect's: `{ ...openaiChat, writeRequest }`.
 */
export type TargetCodec = Pick<
  Codec,
  "name" | "framing" | "writeRequest" | "readAnswer" | "createFrameReader" | "readError"
> &
  Partial<Pick<Codec, "dialect">>;

/** The plugins of a configuration, by provider id. */
export type Plugins = ReadonlyMap<string, ProviderPlugin>;
