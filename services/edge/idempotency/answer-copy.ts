import type { BodyMemory } from "../http/body.ts";
import type { Exchange, HeaderList } from "../http/exchange.ts";

/** Longest body that is kept. */
export const keptBytesMax = 1_048_576;

/** A copy of an answer as it leaves. */
export interface AnswerCopy {
  head(status: number, headers: HeaderList): void;
  add(data: string | Uint8Array): void;
  /** @returns `tooLong` when it was longer than what is kept, or there was no room in memory for it */
  whole(): { readonly status: number; readonly headers: HeaderList; readonly body: Buffer; readonly tooLong: boolean };
}

export function createAnswerCopy(exchange: Exchange, memory: BodyMemory): AnswerCopy {
  let status = 0;
  let headers: HeaderList = [];
  let parts: Buffer[] = [];
  let bytes = 0;
  let tooLong = false;
  return {
    head(itsStatus, itsHeaders) {
      status = itsStatus;
      headers = [...itsHeaders];
    },
    add(data) {
      if (tooLong || data.length === 0) return;
      const part = Buffer.from(data);
      bytes += part.length;
      if (bytes <= keptBytesMax && memory.take(exchange, part.length)) {
        parts.push(part);
      } else {
        tooLong = true;
        parts = [];
      }
    },
    whole: () => ({ status, headers, body: Buffer.concat(parts), tooLong }),
  };
}
