import type { IncomingHttpHeaders } from "node:http";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import type { Authenticate } from "./auth/authenticate.ts";
import { authorise } from "./auth/authorise.ts";
import type { Caller } from "./auth/caller.ts";
import type { Admission, Limits } from "./limits/limits.ts";
import type { Access } from "./routes/route.ts";

/** Where a call comes from, whatever it speaks. */
export interface Arrival {
  /** Of HTTP, or the metadata of gRPC; names in lower case. */
  readonly headers: IncomingHttpHeaders;
  readonly address: string | undefined;
}

/** A caller that was let in, and what its call has taken of its limits. */
export interface Admitted {
  readonly caller: Caller;
  /** Whoever holds it ends it when the call is over, however it ends. */
  readonly admission: Admission;
}

/**
 * Lets a call in that asks for a key, or refuses it: the one order of checks behind every door, the cheapest first.
 * @param onKnown told who calls before anything is asked of the caller, so that refusals can be told apart by caller
 * @returns at once, but for a JSON Web Token that was not seen before, and for limits whose store has to be asked
 * @throws WeirError OVERLOADED, FORBIDDEN, RATE_LIMITED, and what Authenticate throws. A promise rejects with the same.
 */
export type Admit = (
  arrival: Arrival,
  access: Access,
  onKnown?: (caller: Caller) => void,
) => Admitted | Promise<Admitted>;

export interface AdmissionDeps {
  readonly authenticate: Authenticate;
  readonly limits: Limits;
  /** Whether new work must be refused. */
  readonly isOverloaded: () => boolean;
}

const overloadRetryMs = 1_000;

export function createAdmission({ authenticate, limits, isOverloaded }: AdmissionDeps): Admit {
  return ({ headers, address }, access, onKnown) => {
    if (isOverloaded()) throw new WeirError(ErrorReason.OVERLOADED, { retryAfterMs: overloadRetryMs });
    const found = authenticate(headers, address);
    return found instanceof Promise
      ? found.then((caller) => enter(caller, access, onKnown))
      : enter(found, access, onKnown);
  };

  function enter(
    caller: Caller,
    access: Access,
    onKnown: ((caller: Caller) => void) | undefined,
  ): Admitted | Promise<Admitted> {
    onKnown?.(caller);
    authorise(caller, access);
    const admission = limits.admit(caller);
    return admission instanceof Promise
      ? admission.then((taken) => ({ caller, admission: taken }))
      : { caller, admission };
  }
}
