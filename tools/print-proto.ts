import {
  type DescEnum,
  type DescExtension,
  type DescField,
  type DescFile,
  type DescMessage,
  ScalarType,
} from "@bufbuild/protobuf";
import { Edition } from "@bufbuild/protobuf/wkt";

/**
 * Prints the structure of a proto2 or proto3 file: messages, fields, enums and extensions, without comments,
 * options and reserved names. What it prints compiles to the same fields, numbers and types.
 */
export function printProto(file: DescFile): string {
  const proto2 = file.edition === Edition.EDITION_PROTO2;
  const lines = [`syntax = "${proto2 ? "proto2" : "proto3"}";`, `package ${file.proto.package};`];
  for (const dependency of file.proto.dependency) lines.push(`import "${dependency}";`);
  const print = (level: number, text: string) => lines.push("  ".repeat(level) + text);

  const typeOf = (field: DescField | DescExtension): string => {
    switch (field.fieldKind) {
      case "scalar":
        return scalarName(field.scalar);
      case "enum":
        return `.${field.enum.typeName}`;
      case "message":
        return `.${field.message.typeName}`;
      case "map": {
        const value =
          field.mapKind === "scalar"
            ? scalarName(field.scalar)
            : `.${(field.mapKind === "enum" ? field.enum : field.message).typeName}`;
        return `map<${scalarName(field.mapKey)}, ${value}>`;
      }
      case "list":
        return field.listKind === "scalar"
          ? scalarName(field.scalar)
          : `.${(field.listKind === "enum" ? field.enum : field.message).typeName}`;
    }
  };
  const labelOf = (field: DescField | DescExtension): string => {
    if (field.fieldKind === "list") return "repeated ";
    if (field.fieldKind === "map" || field.oneof !== undefined) return "";
    return proto2 || field.proto.proto3Optional ? "optional " : "";
  };
  const printField = (level: number, field: DescField | DescExtension) =>
    print(level, `${labelOf(field)}${typeOf(field)} ${field.name} = ${field.number};`);
  const printEnum = (level: number, desc: DescEnum) => {
    print(level, `enum ${desc.name} {`);
    if (desc.proto.options?.allowAlias === true) print(level + 1, "option allow_alias = true;");
    for (const value of desc.values) print(level + 1, `${value.name} = ${value.number};`);
    print(level, "}");
  };
  const printExtension = (level: number, extension: DescExtension) => {
    print(level, `extend .${extension.extendee.typeName} {`);
    printField(level + 1, extension);
    print(level, "}");
  };
  const printMessage = (level: number, desc: DescMessage) => {
    print(level, `message ${desc.name} {`);
    for (const field of desc.fields) if (field.oneof === undefined) printField(level + 1, field);
    for (const oneof of desc.oneofs) {
      print(level + 1, `oneof ${oneof.name} {`);
      for (const field of oneof.fields) printField(level + 2, field);
      print(level + 1, "}");
    }
    for (const range of desc.proto.extensionRange) {
      const end = range.end >= 536870912 ? "max" : String(range.end - 1);
      print(level + 1, `extensions ${range.start} to ${end};`);
    }
    for (const nested of desc.nestedMessages) printMessage(level + 1, nested);
    for (const nested of desc.nestedEnums) printEnum(level + 1, nested);
    for (const nested of desc.nestedExtensions) printExtension(level + 1, nested);
    print(level, "}");
  };

  for (const desc of file.enums) printEnum(0, desc);
  for (const desc of file.messages) printMessage(0, desc);
  for (const extension of file.extensions) printExtension(0, extension);
  return `${lines.join("\n")}\n`;
}

function scalarName(type: ScalarType): string {
  const name = Object.entries(ScalarType).find(([, value]) => value === type)?.[0];
  if (name === undefined) throw new Error(`unknown scalar type ${type}`);
  return name.toLowerCase();
}
