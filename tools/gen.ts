import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { file_buf_validate_validate } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import { printProto } from "./print-proto.ts";

const root = dirname(import.meta.dirname);

/**
 * Puts the protos of other projects that ours import into third_party/vendored, out of installed packages:
 * google.api's option and the gRPC health and reflection protocols as they are, buf.validate from its descriptor.
 * third_party/google-rpc has what no package has whole.
 */
export function vendorProtos(): void {
  // Written by earlier versions: a file may stand in one place only.
  rmSync(join(root, "third_party/vendored/google/api/http.proto"), { force: true });
  const copies = [
    ["protobufjs/google/api/annotations.proto", "google/api/annotations.proto"],
    ["grpc-health-check/proto/health/v1/health.proto", "grpc/health/v1/health.proto"],
    ["@grpc/reflection/build/proto/grpc/reflection/v1/reflection.proto", "grpc/reflection/v1/reflection.proto"],
  ] as const;
  for (const [from, to] of copies) writeVendored(to, readFileSync(join(root, "node_modules", from), "utf8"));
  writeVendored("buf/validate/validate.proto", printProto(file_buf_validate_validate));
}

/** Leaves a file that is right already alone, so that builds that run beside this one find it. */
function writeVendored(name: string, text: string): void {
  const path = join(root, "third_party", "vendored", name);
  if (existsSync(path) && readFileSync(path, "utf8") === text) return;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

/**
 * Generates TypeScript from proto/ into `gen` under a folder.
 * @returns the names of the files, relative to `gen`
 */
export function generate(folder: string): string[] {
  vendorProtos();
  const gen = join(folder, "gen");
  const packageJson = readFileSync(join(root, "gen", "package.json"));
  execFileSync(join(root, "node_modules", ".bin", "buf"), ["generate", "--output", folder], {
    cwd: root,
    stdio: "inherit",
    env: {
      ...process.env,
      PATH: [dirname(process.execPath), join(root, "node_modules", ".bin"), process.env["PATH"]].join(delimiter),
    },
  });
  writeFileSync(join(gen, "package.json"), packageJson);
  rmSync(join(gen, "buf"), { recursive: true, force: true });
  return readdirSync(gen, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .toSorted();
}

if (import.meta.main) console.log(`generated ${generate(root).length} files in gen/`);
