import { type DescFile, type DescService, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { nestedTypes } from "@bufbuild/protobuf/reflect";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import {
  type ServerReflectionRequest,
  type ServerReflectionResponseSchema,
  ServerReflection,
} from "@weir/gen/grpc/reflection/v1/reflection_pb";
import { type HostedService, hostService } from "../call.ts";

/** The path of the one method as generic clients of before 2023 call it; its messages are the same. */
export const earlierReflectionPath = "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

/**
 * Tells generic clients such as grpcurl what is served: https://grpc.io/docs/guides/reflection/
 * @param services beside reflection itself
 */
export function createReflection(services: readonly DescService[]): HostedService {
  const index = indexFiles([...services, ServerReflection]);
  return hostService(ServerReflection, {
    async *serverReflectionInfo(requests) {
      for await (const request of requests) {
        yield { validHost: request.host, originalRequest: request, messageResponse: answer(index, request) };
      }
    },
  });
}

interface FileIndex {
  readonly services: readonly DescService[];
  readonly byName: ReadonlyMap<string, DescFile>;
  readonly bySymbol: ReadonlyMap<string, DescFile>;
}

type Answer = NonNullable<MessageInitShape<typeof ServerReflectionResponseSchema>["messageResponse"]>;

function answer(index: FileIndex, { messageRequest }: ServerReflectionRequest): Answer {
  switch (messageRequest.case) {
    case "listServices":
      return {
        case: "listServicesResponse",
        value: { service: index.services.map((service) => ({ name: service.typeName })) },
      };
    case "fileByFilename":
      return fileAnswer(index.byName.get(messageRequest.value));
    case "fileContainingSymbol":
      return fileAnswer(index.bySymbol.get(messageRequest.value));
    case "fileContainingExtension":
    case "allExtensionNumbersOfType":
    case undefined:
      return {
        case: "errorResponse",
        value: { errorCode: Code.Unimplemented, errorMessage: "extensions are not indexed" },
      };
  }
}

function fileAnswer(file: DescFile | undefined): Answer {
  if (file === undefined) {
    return { case: "errorResponse", value: { errorCode: Code.NotFound, errorMessage: "not found" } };
  }
  const files = [...withImports(file, new Map()).values()];
  return {
    case: "fileDescriptorResponse",
    value: { fileDescriptorProto: files.map((each) => toBinary(FileDescriptorProtoSchema, each.proto)) },
  };
}

/** A file and all that it imports, itself first. */
function withImports(file: DescFile, found: Map<string, DescFile>): Map<string, DescFile> {
  if (found.has(file.proto.name)) return found;
  found.set(file.proto.name, file);
  for (const dependency of file.dependencies) withImports(dependency, found);
  return found;
}

function indexFiles(services: readonly DescService[]): FileIndex {
  const byName = new Map<string, DescFile>();
  for (const service of services) withImports(service.file, byName);
  const bySymbol = new Map<string, DescFile>();
  for (const file of byName.values()) {
    for (const type of nestedTypes(file)) {
      bySymbol.set(type.typeName, file);
      if (type.kind !== "service") continue;
      for (const method of type.methods) bySymbol.set(`${type.typeName}.${method.name}`, file);
    }
  }
  return { services, byName, bySymbol };
}
