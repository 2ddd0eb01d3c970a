import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { descriptorInGo, staleGoFiles } from "./go-descriptors.ts";

const root = dirname(import.meta.dirname);
const goFolder = "examples/grpc/go/gen";

test("a descriptor is read as Go reads it, whatever its bytes", () => {
  const text = String.raw`const file_x_proto_rawDesc = "" +
	"\n" +
	"\x16a\\\"\u00e9\U0001f600é\a\b\f\v\r.proto\x12\x03pkg"
`;
  const file = descriptorInGo(text);
  expect([file.name, file.package]).toEqual(['a\\"\u00e9\u{1f600}é\u0007\b\f\v\r.proto', "pkg"]);
});

test("a proto of which Go's code says something else, or nothing, is told of", async () => {
  const folder = mkdtempSync(join(tmpdir(), "weir-go-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  cpSync(join(root, goFolder), folder, { recursive: true });
  const before = await staleGoFiles(root, goFolder);
  const usage = join(folder, "weir/common/v1/usage.pb.go");
  writeFileSync(usage, readFileSync(usage, "utf8").replaceAll("cached_input_tokens", "cached_input_tokenz"));
  rmSync(join(folder, "weir/chat/v1/event.pb.go"));
  const after = await staleGoFiles(root, relative(root, folder));
  expect(after.filter((name) => !before.includes(name))).toEqual(["weir/chat/v1/event", "weir/common/v1/usage"]);
});
