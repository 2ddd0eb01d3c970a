import type { Token } from "node-llama-cpp";

/** The part of a model that turns tokens into text. */
type Detokenize = (tokens: readonly Token[], specialTokens: boolean, before: readonly Token[]) => string;

const replacement = "\uFFFD";
/** A character of UTF-8 has at most four bytes, each of which may be a token of its own. */
const tokensHeldMax = 4;
/** Tokenizers decide on a space by the tokens before. */
const tokensBefore = 8;

/** The text of a reply, token by token. */
export interface TokenText {
  /** @returns the text that is complete with this token */
  push(token: Token): string;
  /** What is left when no token follows; bytes that make no character become U+FFFD. */
  rest(): string;
}

/**
 * Turns tokens into text as they come. A token whose bytes end inside a character waits for the next ones.
 * Tokens that are no text, such as the end of a turn, become nothing.
 */
export function createTokenText(detokenize: Detokenize): TokenText {
  let before: Token[] = [];
  let held: Token[] = [];
  const take = (text: string) => {
    before = [...before, ...held].slice(-tokensBefore);
    held = [];
    return text;
  };
  return {
    push(token) {
      held.push(token);
      const text = detokenize(held, false, before);
      return text.endsWith(replacement) && held.length < tokensHeldMax ? "" : take(text);
    },
    rest: () => (held.length === 0 ? "" : take(detokenize(held, false, before))),
  };
}
