import { status } from "@grpc/grpc-js";

/** The peer broke a rule of the link; the link ends with this status, and with it every call on it. */
export class LinkFault extends Error {
  override readonly name = "LinkFault";
  /** Status code of gRPC. */
  readonly code: status;

  constructor(text: string, code: status = status.FAILED_PRECONDITION) {
    super(text);
    this.code = code;
  }
}
