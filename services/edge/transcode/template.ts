/** One segment of a path template. */
export type Segment =
  /** This text and no other. `text` is percent-decoded. */
  | { readonly kind: "literal"; readonly text: string }
  /** `*`: any one segment that is not empty. */
  | { readonly kind: "one" }
  /** `**`: any number of segments that are not empty, none included. Only last. */
  | { readonly kind: "rest" };

/** A part of a path that a field of the request is bound to. */
export interface Variable {
  /** Path of the field, as it stands in the template: `message.name`. */
  readonly fieldPath: string;
  /** Index of its first segment in the template. */
  readonly start: number;
  /** Index of the segment after its last. */
  readonly end: number;
  /**
   * Whether it is anything but a single `*`: then a client leaves slashes as they are when it fills the template in, and encodes
   * only those of values.
   */
  readonly isMulti: boolean;
}

/** A path template, read. */
export interface PathTemplate {
  readonly text: string;
  /** At least one. */
  readonly segments: readonly Segment[];
  /** What stands after the last colon, percent-decoded; empty: nothing. */
  readonly verb: string;
  readonly variables: readonly Variable[];
}

/** A text that is no path template. */
export class TemplateError extends Error {
  override readonly name = "TemplateError";
  constructor(template: string, offset: number, fault: string) {
    super(`path template ${JSON.stringify(template)}: ${fault} at offset ${offset}`);
  }
}

/**
 * Reads a path template by the grammar of google.api.http:
 *
 *     Template = "/" Segments [ Verb ] ;
 *     Segments = Segment { "/" Segment } ;
 *     Segment  = "*" | "**" | LITERAL | Variable ;
 *     Variable = "{" FieldPath [ "=" Segments ] "}" ;
 *     FieldPath = IDENT { "." IDENT } ;
 *     Verb     = ":" LITERAL ;
 *
 * A LITERAL is one or more characters that a segment of a URL may have (RFC 3986, pchar) but `:` and `*`. `**` stands last, a
 * variable has no variables in it, and no field is bound twice.
 * @throws TemplateError
 */
export function parseTemplate(text: string): PathTemplate {
  return new TemplateReader(text).read();
}

// https://www.rfc-editor.org/rfc/rfc3986#section-3.3
const literalShape = /(?:[A-Za-z0-9\-._~!$&'()+,;=@]|%[0-9A-Fa-f]{2})+/y;
const fieldPathShape = /[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*/y;

class TemplateReader {
  private readonly text: string;
  private readonly segments: Segment[] = [];
  private readonly variables: Variable[] = [];
  private at = 0;

  constructor(text: string) {
    this.text = text;
  }

  read(): PathTemplate {
    this.expect("/");
    this.readSegments(false);
    const verb = this.take(":") ? this.readLiteral("a verb") : "";
    if (this.at < this.text.length) throw this.fault("a character that cannot stand here");
    const { text, segments, variables } = this;
    return { text, segments, verb, variables };
  }

  private readSegments(inVariable: boolean): void {
    do {
      if (this.segments.at(-1)?.kind === "rest") throw this.fault("a segment after `**`, which must be the last,");
      this.readSegment(inVariable);
    } while (this.take("/"));
  }

  private readSegment(inVariable: boolean): void {
    if (this.take("**")) this.segments.push({ kind: "rest" });
    else if (this.take("*")) this.segments.push({ kind: "one" });
    else if (this.text[this.at] !== "{") this.segments.push({ kind: "literal", text: this.readLiteral("a segment") });
    else if (inVariable) throw this.fault("a variable in a variable");
    else this.readVariable();
  }

  private readVariable(): void {
    this.expect("{");
    const start = this.segments.length;
    const before = this.at;
    const fieldPath = this.match(fieldPathShape);
    if (fieldPath === undefined) throw this.fault("no field path");
    if (this.variables.some((other) => other.fieldPath === fieldPath)) {
      this.at = before;
      throw this.fault(`${fieldPath} is bound a second time`);
    }
    if (this.take("=")) this.readSegments(true);
    else this.segments.push({ kind: "one" });
    this.expect("}");
    const end = this.segments.length;
    const isMulti = end - start > 1 || this.segments[start]?.kind !== "one";
    this.variables.push({ fieldPath, start, end, isMulti });
  }

  private readLiteral(what: string): string {
    const literal = this.match(literalShape);
    if (literal === undefined) throw this.fault(`no text of ${what}`);
    const decoded = decodeText(literal);
    if (decoded === undefined) throw this.fault(`${what} that is not UTF-8 once it is decoded`);
    return decoded;
  }

  private match(shape: RegExp): string | undefined {
    shape.lastIndex = this.at;
    const [found] = shape.exec(this.text) ?? [];
    this.at += found?.length ?? 0;
    return found;
  }

  private take(text: string): boolean {
    if (!this.text.startsWith(text, this.at)) return false;
    this.at += text.length;
    return true;
  }

  private expect(text: string): void {
    if (!this.take(text)) throw this.fault(`no \`${text}\``);
  }

  private fault(fault: string): TemplateError {
    return new TemplateError(this.text, this.at, fault);
  }
}

/** A percent-encoded text as what it stands for; undefined when its encoding is broken or no UTF-8. */
export function decodeText(text: string): string | undefined {
  if (!text.includes("%")) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/** As decodeText, but encoded slashes stay as they stand, so that they are no ends of segments. */
export function decodeButSlashes(text: string): string | undefined {
  const parts = text.split(/(%2f)/i);
  for (let index = 0; index < parts.length; index += 2) {
    const decoded = decodeText(parts[index] as string);
    if (decoded === undefined) return undefined;
    parts[index] = decoded;
  }
  return parts.join("");
}
