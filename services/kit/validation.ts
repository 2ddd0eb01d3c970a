import { create, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import { pathToString } from "@bufbuild/protobuf/reflect";
import { createValidator } from "@bufbuild/protovalidate";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "./weir-error.ts";

const validator = createValidator();

/**
 * Checks a request against the protovalidate rules of its schema.
 * @throws WeirError INVALID_REQUEST, whose text names the field and the rule, never the value; its metadata holds the
 * field's path as `param`
 */
export function validateRequest<M extends DescMessage>(schema: M, message: MessageShape<M>): void {
  // Nothing can be wrong, and to find that out would cost more than the rest of a small call's decoding.
  if (schema.fields.length === 0) return;
  const result = validator.validate(schema, message);
  if (result.kind === "valid") return;
  if (result.kind === "error") throw result.error;
  const [violation] = result.violations;
  if (violation === undefined) return;
  const param = violation.field.length === 0 ? "" : pathToString(violation.field);
  const subject = param === "" ? "The request" : `\`${param}\``;
  throw new WeirError(ErrorReason.INVALID_REQUEST, {
    text: `${subject} breaks the rule ${violation.ruleId || "of its schema"}: ${violation.message || "not valid"}.`,
    metadata: param === "" ? {} : { param },
  });
}

/** Compiles the rules of a schema now, which takes long, and not during the first call. */
export function prepareValidation(schema: DescMessage): void {
  validator.validate(schema, create(schema));
}
