import { Code } from "@connectrpc/connect";

/** The peer broke a rule of the link; the link ends with this status, and with it every call on it. */
export class LinkFault extends Error {
  override readonly name = "LinkFault";
  /** Status code of gRPC; Connect's are the same numbers. */
  readonly code: Code;

  constructor(text: string, code: Code = Code.FailedPrecondition) {
    super(text);
    this.code = code;
  }
}
