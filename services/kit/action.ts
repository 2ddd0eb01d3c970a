import { type DescMethod, getOption } from "@bufbuild/protobuf";
import { access } from "@weir/gen/weir/common/v1/access_pb";

/**
 * What the audit log calls a method, whether it did something or was refused, and whichever door it was called at: its endpoint,
 * as scopes have it, and the verb that its name begins with: `keys.rotate`.
 */
export function actionOf(method: DescMethod): string {
  // Of the verbs, one has two words.
  const [verb = method.name] = /^(?:TrueUp|[A-Z][a-z]*)/.exec(method.name) ?? [];
  return `${getOption(method, access).endpoint}.${verb === "TrueUp" ? "true_up" : verb.toLowerCase()}`;
}
