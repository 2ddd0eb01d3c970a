import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { file_buf_validate_validate } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import { printProto } from "./print-proto.ts";

// Generates gen/ from proto/. Files of other projects that ours import come out of installed packages:
// google.api and the gRPC health and reflection protocols as they are, buf.validate from its descriptor.
const root = dirname(import.meta.dirname);
const vendored = join(root, "third_party", "vendored");
rmSync(vendored, { recursive: true, force: true });

const copies = [
  ["protobufjs/google/api/annotations.proto", "google/api/annotations.proto"],
  ["protobufjs/google/api/http.proto", "google/api/http.proto"],
  ["grpc-health-check/proto/health/v1/health.proto", "grpc/health/v1/health.proto"],
  ["@grpc/reflection/build/proto/grpc/reflection/v1/reflection.proto", "grpc/reflection/v1/reflection.proto"],
] as const;
for (const [from, to] of copies) cpSync(join(root, "node_modules", from), join(vendored, to));
const validate = join(vendored, "buf", "validate", "validate.proto");
mkdirSync(dirname(validate), { recursive: true });
writeFileSync(validate, printProto(file_buf_validate_validate));

const gen = join(root, "gen");
const packageJson = readFileSync(join(gen, "package.json"));
execFileSync(join(root, "node_modules", ".bin", "buf"), ["generate"], { cwd: root, stdio: "inherit" });
writeFileSync(join(gen, "package.json"), packageJson);
rmSync(join(gen, "buf"), { recursive: true, force: true });
console.log(`generated ${readdirSync(gen, { recursive: true }).filter((name) => String(name).endsWith(".ts")).length} files in gen/`);
