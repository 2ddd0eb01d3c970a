import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { ToolChoice_Mode } from "@weir/gen/weir/chat/v1/conversation_pb";
import { unsupported } from "../faults.ts";
import type { Omissions } from "../omissions.ts";

/**
 * Refuses what a target that completes a prompt cannot do, and leaves out hints that none such takes. What is left to each:
 * messages, stop sequences, the sampler's usual settings, choices, probabilities, the end user and extensions.
 * @throws WeirError TARGET_UNSUPPORTED with `param`
 */
export function keepPlain(request: GenerateRequest, omissions: Omissions): void {
  const { tools, toolChoice, outputFormat, modalities, audio, reasoning, sampling } = request;
  if (tools.length > 0) throw unsupported("This target calls no tools.", "tools");
  if (toolChoice?.mode === ToolChoice_Mode.REQUIRED) throw unsupported("This target calls no tools.", "tool_choice");
  if (outputFormat !== undefined && outputFormat.kind.case !== "text") {
    throw unsupported("This target answers in free text only.", "output_format");
  }
  if (modalities.some((modality) => modality !== "text"))
    throw unsupported("This target answers in text.", "modalities");
  if (audio !== undefined) throw unsupported("This target answers in text.", "audio");
  const { effort = "", budgetTokens = 0, summary = "" } = reasoning ?? {};
  omissions.drop("reasoning.effort", effort !== "" && effort !== "none");
  omissions.drop("reasoning.budget_tokens", budgetTokens > 0);
  omissions.drop("reasoning.summary", summary !== "" && summary !== "none");
  omissions.drop("sampling.top_k", sampling?.topK !== undefined);
  omissions.drop("sampling.min_p", sampling?.minP !== undefined);
  omissions.drop("service_tier", request.serviceTier !== "");
  omissions.drop("metadata", Object.keys(request.metadata).length > 0);
  omissions.drop("prompt_cache_key", request.promptCacheKey !== "");
  omissions.drop("prompt_cache_retention", request.promptCacheRetention !== "");
  omissions.drop("prediction", request.prediction.length > 0);
  omissions.drop("verbosity", request.verbosity !== "");
  omissions.drop("store", request.store === true);
}
