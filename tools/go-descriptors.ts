import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { type DescFile, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type FileDescriptorProto, FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";

/**
 * The protos of the gateway of which generated Go code says something else than gen/, or nothing. Each Go file has the descriptor of its
 * proto in it, so that no Go is needed to know. Comments are no part of descriptors.
 * @param root of the repository
 * @param goFolder with the generated code, below the root
 * @returns names without their ends: `weir/chat/v1/event`
 */
export async function staleGoFiles(root: string, goFolder: string): Promise<string[]> {
  const files = (folder: string, end: RegExp): string[] =>
    readdirSync(folder, { recursive: true, encoding: "utf8" })
      .filter((name) => name.startsWith("weir/") && end.test(name))
      .map((name) => name.replace(end, ""));
  const inGo = files(join(root, goFolder), /(?<!_grpc)\.pb\.go$/);
  const packages = new Set(inGo.map(dirname));
  const inGen = files(join(root, "gen"), /_pb\.ts$/).filter((name) => packages.has(dirname(name)));
  const stale: string[] = [];
  for (const name of new Set([...inGo, ...inGen].toSorted())) {
    const own = inGen.includes(name) ? await descriptorInGen(join(root, "gen", `${name}_pb.ts`)) : undefined;
    const other = inGo.includes(name) ? readFileSync(join(root, goFolder, `${name}.pb.go`), "utf8") : undefined;
    if (own === undefined || other === undefined || !isSame(own, descriptorInGo(other))) stale.push(name);
  }
  return stale;
}

async function descriptorInGen(path: string): Promise<FileDescriptorProto | undefined> {
  const exported = Object.values((await import(pathToFileURL(path).href)) as Record<string, unknown>);
  return exported.find((value): value is DescFile => (value as Partial<DescFile>).kind === "file")?.proto;
}

function isSame(own: FileDescriptorProto, other: FileDescriptorProto): boolean {
  return Buffer.from(bare(own)).equals(bare(other));
}

/** Without what buf adds for each language and protobuf-es leaves out: options of files, of which the protos have none, and JSON names. */
function bare(file: FileDescriptorProto): Uint8Array {
  const copy = fromBinary(FileDescriptorProtoSchema, toBinary(FileDescriptorProtoSchema, file));
  for (const message of copy.messageType) dropJsonNames(message);
  for (const extension of copy.extension) extension.jsonName = "";
  return toBinary(FileDescriptorProtoSchema, { ...copy, options: undefined });
}

function dropJsonNames({ field, extension, nestedType }: FileDescriptorProto["messageType"][number]): void {
  for (const each of [...field, ...extension]) each.jsonName = "";
  for (const nested of nestedType) dropJsonNames(nested);
}

/** The descriptor in a file of protoc-gen-go: `const file_x_proto_rawDesc = "" +` and strings, one a line. */
export function descriptorInGo(text: string): FileDescriptorProto {
  const [, literals = ""] = /^const \w+_rawDesc = ((?:""|"(?:[^"\\\n]|\\.)*"|[\s+])+)$/m.exec(text) ?? [];
  const parts = [...literals.matchAll(/"((?:[^"\\\n]|\\.)*)"/g)].map(([, part = ""]) => bytesOf(part));
  return fromBinary(FileDescriptorProtoSchema, Buffer.concat(parts));
}

const letters: Readonly<Record<string, number>> = { a: 7, b: 8, f: 12, n: 10, r: 13, t: 9, v: 11, '"': 34, "\\": 92 };
const escape = /\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))|([^\\]+)/g;

/** https://go.dev/ref/spec#String_literals */
function bytesOf(literal: string): Buffer {
  const parts = [...literal.matchAll(escape)].map(([, byte, short, long, letter, plain]) => {
    if (byte !== undefined) return Buffer.from(byte, "hex");
    if (letter !== undefined) return Buffer.from([letters[letter] ?? 0]);
    const code = short ?? long;
    return Buffer.from(code === undefined ? (plain ?? "") : String.fromCodePoint(Number.parseInt(code, 16)));
  });
  return Buffer.concat(parts);
}
