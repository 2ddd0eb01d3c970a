import { fromBinary } from "@bufbuild/protobuf";
import {
  type DescriptorProto,
  type EnumDescriptorProto,
  type FileDescriptorProto,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";

// Numbers of fields in descriptor.proto, of which paths into a file are made:
// https://github.com/protocolbuffers/protobuf/blob/main/src/google/protobuf/descriptor.proto
const inFile = { message: 4, enum: 5, service: 6 } as const;
const inMessage = { field: 2, message: 3, enum: 4, oneof: 8 } as const;
const valueOfEnum = 2;
const methodOfService = 2;

/**
 * The comments of our own protos, by full name: `weir.chat.v1.ChatService.Generate`, `weir.chat.v1.GenerateRequest.model`. Generated code has
 * them only where programs do not see them.
 * @param image what `buf build` writes
 */
export function commentsOf(image: Uint8Array): ReadonlyMap<string, string> {
  const comments = new Map<string, string>();
  for (const file of fromBinary(FileDescriptorSetSchema, image).file) {
    if (file.package.startsWith("weir.")) readFile(file, comments);
  }
  return comments;
}

function readFile(file: FileDescriptorProto, comments: Map<string, string>): void {
  const byPath = new Map<string, string>();
  for (const { path, leadingComments } of file.sourceCodeInfo?.location ?? []) {
    if (leadingComments !== "") byPath.set(path.join("."), leadingComments);
  }
  const note = (name: string, path: string): void => {
    const text = byPath.get(path)?.replaceAll(/\n? +/g, " ").replaceAll(/\s+/g, " ").trim();
    if (text !== undefined && text !== "") comments.set(name, text);
  };
  const readEnum = ({ name, value }: EnumDescriptorProto, scope: string, path: string): void => {
    note(`${scope}.${name}`, path);
    for (const [index, each] of value.entries())
      note(`${scope}.${name}.${each.name}`, `${path}.${valueOfEnum}.${index}`);
  };
  const readMessage = (message: DescriptorProto, scope: string, path: string): void => {
    const name = `${scope}.${message.name}`;
    note(name, path);
    for (const [index, field] of message.field.entries())
      note(`${name}.${field.name}`, `${path}.${inMessage.field}.${index}`);
    for (const [index, oneof] of message.oneofDecl.entries()) {
      note(`${name}.${oneof.name}`, `${path}.${inMessage.oneof}.${index}`);
    }
    for (const [index, each] of message.nestedType.entries())
      readMessage(each, name, `${path}.${inMessage.message}.${index}`);
    for (const [index, each] of message.enumType.entries()) readEnum(each, name, `${path}.${inMessage.enum}.${index}`);
  };
  for (const [index, message] of file.messageType.entries()) {
    readMessage(message, file.package, `${inFile.message}.${index}`);
  }
  for (const [index, each] of file.enumType.entries()) readEnum(each, file.package, `${inFile.enum}.${index}`);
  for (const [index, service] of file.service.entries()) {
    const name = `${file.package}.${service.name}`;
    note(name, `${inFile.service}.${index}`);
    for (const [at, method] of service.method.entries()) {
      note(`${name}.${method.name}`, `${inFile.service}.${index}.${methodOfService}.${at}`);
    }
  }
}
