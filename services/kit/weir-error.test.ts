import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { expect, test } from "vitest";
import { WeirError } from "./weir-error.ts";

test.each(["gpt-4o", "hf.co/bartowski/Llama-3.2:Q4_K_M", "models/größer", "keys/*", ""])(
  "a failure tells which %s it was about",
  (name) => {
    expect(new WeirError(ErrorReason.MODEL_NOT_FOUND, { metadata: { model: name } }).metadata).toEqual({ model: name });
  },
);

test.each(["a' or 1=1", 'a"b', "a\r\nset-cookie: b", "<b>", "a\0", "{{7*7}}", "a".repeat(601)])(
  "what no name looks like is told to nobody again: %j",
  (name) => {
    const metadata = { resource: name, model: "small", param: "a[0].b" };
    expect(new WeirError(ErrorReason.NOT_FOUND, { metadata }).metadata).toEqual({ model: "small", param: "a[0].b" });
  },
);
