import type { IncomingHttpHeaders } from "node:http";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";

export const tagsHeader = "x-weir-tags";

const tagsMax = 16;
const headerLengthMax = 2_048;
/** A name of at most 64 characters and a value of at most 128, neither of which needs quoting anywhere. */
const tagShape = /^([A-Za-z0-9][A-Za-z0-9_.-]{0,63})=([A-Za-z0-9_.:@/+-]{1,128})$/;

/**
 * The tags that a client marks its request with: `x-weir-tags: team=search,job=nightly`.
 * @returns the field `tags` of a weir.common.v1.Principal, encoded; undefined when there are none
 * @throws WeirError INVALID_REQUEST for more than 16 tags, a name that stands twice, and anything that is no tag
 */
export function readTags(headers: IncomingHttpHeaders): Uint8Array | undefined {
  const text = headers[tagsHeader];
  return text === undefined ? undefined : encodeTags(String(text));
}

function encodeTags(text: string): Uint8Array | undefined {
  if (text.length > headerLengthMax) throw invalid(`is longer than ${headerLengthMax} characters`);
  const writer = new BinaryWriter();
  const names = new Set<string>();
  for (const part of text.split(",")) {
    const tag = part.trim();
    if (tag === "") continue;
    const [, name, value] = tagShape.exec(tag) ?? [];
    if (name === undefined || value === undefined) {
      throw invalid(
        "must be `name=value` pairs with commas between them: names of 1 to 64 letters, digits and `_.-` that begin with a letter or digit, values of 1 to 128 letters, digits and `_.:@/+-`",
      );
    }
    if (names.has(name)) throw invalid("names a tag twice");
    names.add(name);
    if (names.size > tagsMax) throw invalid(`has more than ${tagsMax} tags`);
    writer
      .tag(4, WireType.LengthDelimited)
      .fork()
      .tag(1, WireType.LengthDelimited)
      .string(name)
      .tag(2, WireType.LengthDelimited)
      .string(value)
      .join();
  }
  return names.size === 0 ? undefined : writer.finish();
}

function invalid(fault: string): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, {
    text: `The header \`${tagsHeader}\` ${fault}.`,
    metadata: { param: tagsHeader },
  });
}
