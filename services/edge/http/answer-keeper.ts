import type { HeaderList } from "./exchange.ts";

/** Takes part in the answer of an exchange before its last byte leaves. Each method throws nothing, and rejects never. */
export interface AnswerKeeper {
  /** A whole answer. It leaves with the headers that this resolves to as well. */
  answered(status: number, headers: HeaderList, body: string | Uint8Array): Promise<HeaderList>;
  /** The head of an answer in pieces. */
  began(status: number, headers: HeaderList): void;
  /** A piece of it. */
  wrote(data: string | Uint8Array): void;
  /** Its last piece, which leaves when this resolves. */
  ended(data: string | Uint8Array): Promise<void>;
  /** No whole answer comes: it broke off, or its client left before it began. */
  broke(): void;
}
