import { create, createFileRegistry, type DescService, type MessageInitShape, setExtension } from "@bufbuild/protobuf";
import {
  type DescriptorProto,
  DescriptorProtoSchema,
  EnumDescriptorProtoSchema,
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  type FieldDescriptorProto,
  FieldDescriptorProtoSchema,
  file_google_protobuf_any,
  file_google_protobuf_duration,
  file_google_protobuf_field_mask,
  file_google_protobuf_struct,
  file_google_protobuf_timestamp,
  file_google_protobuf_wrappers,
  FileDescriptorProtoSchema,
  MethodDescriptorProtoSchema,
  MethodOptionsSchema,
  OneofDescriptorProtoSchema,
  ServiceDescriptorProtoSchema,
} from "@bufbuild/protobuf/wkt";
import { http } from "@weir/gen/google/api/annotations_pb";
import { HttpRuleSchema } from "@weir/gen/google/api/http_pb";
import { access, AccessRuleSchema, Permission } from "@weir/gen/weir/common/v1/access_pb";

export type RuleInit = MessageInitShape<typeof HttpRuleSchema>;

/** A proto of package `test`, in short. */
export interface SchemaInit {
  /**
   * Types of fields by name, by name of the message: `string`, `optional int32`, `repeated Sub`, `map int64` (keys are texts),
   * `oneof kind Sub`, names of enums, `google.protobuf.Timestamp`.
   */
  readonly messages: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** Names of values, from 0 on, by name of the enum. */
  readonly enums?: Readonly<Record<string, readonly string[]>>;
  readonly methods: Readonly<Record<string, MethodInit>>;
}

export interface MethodInit {
  /** `GetRequest -> Message`, `GetRequest -> stream Message`, `stream Message -> Message`. */
  readonly types: string;
  readonly rule?: RuleInit;
  /** Default: PERMISSION_COSTS_READ for `costs`. */
  readonly access?: MessageInitShape<typeof AccessRuleSchema>;
}

const wellKnown = [
  file_google_protobuf_any,
  file_google_protobuf_duration,
  file_google_protobuf_field_mask,
  file_google_protobuf_struct,
  file_google_protobuf_timestamp,
  file_google_protobuf_wrappers,
];

/** Builds the service `test.Messaging`. */
export function createTestService({ messages, enums = {}, methods }: SchemaInit): DescService {
  const file = create(FileDescriptorProtoSchema, {
    name: "test.proto",
    package: "test",
    syntax: "proto3",
    dependency: wellKnown.map((each) => `${each.name}.proto`),
    messageType: Object.entries(messages).map(([name, fields]) => createMessage(name, fields, enums)),
    enumType: Object.entries(enums).map(([name, values]) =>
      create(EnumDescriptorProtoSchema, {
        name,
        value: values.map((value, number) => ({ name: value, number })),
      }),
    ),
    service: [
      create(ServiceDescriptorProtoSchema, {
        name: "Messaging",
        method: Object.entries(methods).map(([name, method]) => createMethod(name, method)),
      }),
    ],
  });
  const registry = createFileRegistry(file, (name) => wellKnown.find((each) => `${each.name}.proto` === name));
  const service = registry.getService("test.Messaging");
  if (service === undefined) throw new Error("no service");
  return service;
}

function createMessage(
  name: string,
  fields: Readonly<Record<string, string>>,
  enums: NonNullable<SchemaInit["enums"]>,
): DescriptorProto {
  const oneofs: string[] = [];
  const nested: DescriptorProto[] = [];
  const field = Object.entries(fields).map(([fieldName, text], index): FieldDescriptorProto => {
    const words = text.split(" ");
    const type = words.at(-1) ?? "";
    const init = create(FieldDescriptorProtoSchema, {
      name: fieldName,
      jsonName: fieldName.replaceAll(/_(.)/g, (_, letter: string) => letter.toUpperCase()),
      number: index + 1,
      label: FieldDescriptorProto_Label.OPTIONAL,
    });
    setType(init, type, enums);
    if (words[0] === "repeated") init.label = FieldDescriptorProto_Label.REPEATED;
    if (words[0] === "oneof") {
      const oneof = words[1] ?? "";
      if (!oneofs.includes(oneof)) oneofs.push(oneof);
      init.oneofIndex = oneofs.indexOf(oneof);
    }
    if (words[0] === "map") {
      const entry = `${fieldName.replaceAll(/(?:^|_)(.)/g, (_, letter: string) => letter.toUpperCase())}Entry`;
      const value = create(FieldDescriptorProtoSchema, { name: "value", number: 2, label: init.label });
      setType(value, type, enums);
      nested.push(
        create(DescriptorProtoSchema, {
          name: entry,
          field: [{ name: "key", number: 1, label: init.label, type: FieldDescriptorProto_Type.STRING }, value],
          options: { mapEntry: true },
        }),
      );
      init.label = FieldDescriptorProto_Label.REPEATED;
      init.type = FieldDescriptorProto_Type.MESSAGE;
      init.typeName = `.test.${name}.${entry}`;
    }
    return init;
  });
  // Oneofs of their own for optional fields come last.
  const optional = Object.entries(fields).filter(([, text]) => text.startsWith("optional "));
  for (const [fieldName] of optional) {
    const init = field.find((each) => each.name === fieldName);
    if (init === undefined) continue;
    init.proto3Optional = true;
    init.oneofIndex = oneofs.push(`_${fieldName}`) - 1;
  }
  return create(DescriptorProtoSchema, {
    name,
    field,
    nestedType: nested,
    oneofDecl: oneofs.map((oneof) => create(OneofDescriptorProtoSchema, { name: oneof })),
  });
}

const scalars: Readonly<Record<string, FieldDescriptorProto_Type>> = {
  string: FieldDescriptorProto_Type.STRING,
  bytes: FieldDescriptorProto_Type.BYTES,
  bool: FieldDescriptorProto_Type.BOOL,
  int32: FieldDescriptorProto_Type.INT32,
  uint32: FieldDescriptorProto_Type.UINT32,
  int64: FieldDescriptorProto_Type.INT64,
  uint64: FieldDescriptorProto_Type.UINT64,
  float: FieldDescriptorProto_Type.FLOAT,
  double: FieldDescriptorProto_Type.DOUBLE,
};

function setType(field: FieldDescriptorProto, type: string, enums: NonNullable<SchemaInit["enums"]>): void {
  const scalar = scalars[type];
  const isEnum = Object.hasOwn(enums, type);
  field.type = scalar ?? (isEnum ? FieldDescriptorProto_Type.ENUM : FieldDescriptorProto_Type.MESSAGE);
  if (scalar === undefined) field.typeName = type.startsWith("google.") ? `.${type}` : `.test.${type}`;
}

function createMethod(name: string, { types, rule, access: rights }: MethodInit) {
  const match = /^(stream )?(\w+) -> (stream )?(\w+)$/.exec(types);
  if (match === null) throw new Error(`no types: ${types}`);
  const options = create(MethodOptionsSchema);
  if (rule !== undefined) setExtension(options, http, create(HttpRuleSchema, rule));
  const asked = rights ?? { permission: Permission.COSTS_READ, endpoint: "costs" };
  setExtension(options, access, create(AccessRuleSchema, asked));
  return create(MethodDescriptorProtoSchema, {
    name,
    inputType: `.test.${match[2]}`,
    outputType: `.test.${match[4]}`,
    clientStreaming: match[1] !== undefined,
    serverStreaming: match[3] !== undefined,
    options,
  });
}
