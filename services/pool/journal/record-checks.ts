import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { UsageSourceSchema } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcomeSchema, type UsageEvent } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { WeirError } from "@weir/kit/weir-error";
import type { Intent } from "./journal.ts";

/** @throws WeirError INVALID_REQUEST for what the ledger would refuse, and with it the whole batch */
export function checkIntent(intent: Intent): void {
  const { provider, model } = intent.target;
  if (!isUuid(intent.attemptId)) throw invalid("an attempt id that is no UUID");
  if (provider === "" || provider.length > 64)
    throw invalid("a provider id that is empty or longer than 64 characters");
  if (model === "" || model.length > 256) throw invalid("a model name that is empty or longer than 256 characters");
}

/** A fifth of the time of a regular expression. Lower case only: the ledger's key is text. */
function isUuid(text: string): boolean {
  if (text.length !== 36) return false;
  for (let i = 0; i < 36; i += 1) {
    const code = text.charCodeAt(i);
    const isHyphen = i === 8 || i === 13 || i === 18 || i === 23;
    const fits = isHyphen ? code === 0x2d : (code >= 0x30 && code <= 0x39) || (code >= 0x61 && code <= 0x66);
    if (!fits) return false;
  }
  return true;
}

function invalid(what: string): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, { text: `The journal cannot record ${what}.` });
}

/** The same for how an attempt ended. */
export function checkSettlement(event: UsageEvent): void {
  const whole = event.principal && event.target && event.startTime && event.endTime && event.usage;
  if (!whole) throw invalid("a settlement with a missing part");
  if (event.outcome === 0 || !AttemptOutcomeSchema.value[event.outcome]) throw invalid("an unknown outcome");
  if (event.usageSource === 0 || !UsageSourceSchema.value[event.usageSource])
    throw invalid("an unknown source of usage");
}
