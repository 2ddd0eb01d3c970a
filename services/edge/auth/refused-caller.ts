import type { Reason } from "@weir/kit/error-table";
import { WeirError, type WeirErrorOptions } from "@weir/kit/weir-error";
import type { Caller } from "./caller.ts";

/** What the audit log says of a caller. */
export type KnownCaller = Pick<Caller, "id" | "principal">;

/** A refusal of somebody who was recognised. For the client it is the same as any other of its reason. */
export class CallerRefused extends WeirError {
  readonly caller: KnownCaller;
  /** For the audit log: what was lacking or at fault. One of few words. */
  readonly detail: string;

  constructor(caller: KnownCaller, reason: Reason, detail: string, options: WeirErrorOptions = {}) {
    super(reason, options);
    this.caller = caller;
    this.detail = detail;
  }
}
