const sizeInitial = 16 * 1024;
/** A buffer that grew beyond this is let go after its message. */
const sizeKept = 1024 * 1024;

/**
 * Writes protobuf values from the last to the first, into a buffer that is kept from message to message: when a length
 * is written, what it counts is already there.
 */
export class ByteWriter {
  private buffer = Buffer.allocUnsafeSlow(sizeInitial);
  private view = new DataView(this.buffer.buffer);
  /** Where the written bytes begin; they reach to the end of the buffer. */
  private start = sizeInitial;

  /** How many bytes are written. */
  get length(): number {
    return this.buffer.length - this.start;
  }

  /** The bytes written so far; valid until the next `reset`. */
  bytes(): Buffer {
    return this.buffer.subarray(this.start);
  }

  /** Copies what is written to a place in another buffer. */
  copyTo(target: Buffer, offset: number): void {
    this.buffer.copy(target, offset, this.start);
  }

  /** Forgets what is written. */
  reset(): void {
    if (this.buffer.length > sizeKept) this.adopt(Buffer.allocUnsafeSlow(sizeInitial));
    this.start = this.buffer.length;
  }

  uint32(value: number): void {
    if (!Number.isInteger(value) || value < 0 || value > 0xffff_ffff) throw notA("uint32");
    this.varint(value);
  }

  int32(value: number): void {
    if (value >= 0) {
      if (value > 0x7fff_ffff) throw notA("int32");
      this.uint32(value);
    } else if (Number.isInteger(value) && value >= -0x8000_0000) {
      this.bigVarint(BigInt.asUintN(64, BigInt(value)));
    } else {
      throw notA("int32");
    }
  }

  sint32(value: number): void {
    if (!Number.isInteger(value) || value < -0x8000_0000 || value > 0x7fff_ffff) throw notA("sint32");
    this.varint(((value << 1) ^ (value >> 31)) >>> 0);
  }

  uint64(value: bigint | number | string): void {
    const big = BigInt(value);
    if (BigInt.asUintN(64, big) !== big) throw notA("uint64");
    if (big <= 0x1f_ffff_ffff_ffffn) this.varint(Number(big));
    else this.bigVarint(big);
  }

  int64(value: bigint | number | string): void {
    const big = BigInt(value);
    if (BigInt.asIntN(64, big) !== big) throw notA("int64");
    if (big >= 0n && big <= 0x1f_ffff_ffff_ffffn) this.varint(Number(big));
    else this.bigVarint(BigInt.asUintN(64, big));
  }

  sint64(value: bigint | number | string): void {
    const big = BigInt(value);
    if (BigInt.asIntN(64, big) !== big) throw notA("sint64");
    this.bigVarint(BigInt.asUintN(64, (big << 1n) ^ (big >> 63n)));
  }

  fixed32(value: number): void {
    if (!Number.isInteger(value) || value < 0 || value > 0xffff_ffff) throw notA("fixed32");
    const at = this.take(4);
    this.view.setUint32(at, value, true);
  }

  sfixed32(value: number): void {
    if (!Number.isInteger(value) || value < -0x8000_0000 || value > 0x7fff_ffff) throw notA("sfixed32");
    const at = this.take(4);
    this.view.setInt32(at, value, true);
  }

  fixed64(value: bigint | number | string): void {
    const big = BigInt(value);
    if (BigInt.asUintN(64, big) !== big) throw notA("fixed64");
    const at = this.take(8);
    this.view.setBigUint64(at, big, true);
  }

  sfixed64(value: bigint | number | string): void {
    const big = BigInt(value);
    if (BigInt.asIntN(64, big) !== big) throw notA("sfixed64");
    const at = this.take(8);
    this.view.setBigInt64(at, big, true);
  }

  float(value: number): void {
    if (typeof value !== "number") throw notA("float");
    const at = this.take(4);
    this.view.setFloat32(at, value, true);
  }

  double(value: number): void {
    if (typeof value !== "number") throw notA("double");
    const at = this.take(8);
    this.view.setFloat64(at, value, true);
  }

  bool(value: boolean): void {
    this.reserve(1);
    this.buffer[--this.start] = value ? 1 : 0;
  }

  /** Bytes without a length. */
  raw(value: Uint8Array): void {
    const at = this.take(value.length);
    this.buffer.set(value, at);
  }

  /** Bytes, with their length before them. */
  lengthAndBytes(value: Uint8Array): void {
    if (!(value instanceof Uint8Array)) throw notA("bytes");
    this.raw(value);
    this.varint(value.length);
  }

  /** Text, with its length in bytes before it. */
  lengthAndText(value: string): void {
    if (typeof value !== "string") throw notA("string");
    const { length } = value;
    if (length <= 24 && this.shortAscii(value)) {
      this.reserve(1);
      this.buffer[--this.start] = length;
      return;
    }
    const byteLength = Buffer.byteLength(value);
    const at = this.take(byteLength);
    this.buffer.write(value, at, byteLength, "utf8");
    this.varint(byteLength);
  }

  /** A non-negative integer up to 2^53 - 1. */
  varint(value: number): void {
    if (value < 0x80) {
      this.reserve(1);
      this.buffer[--this.start] = value;
      return;
    }
    let size = 2;
    for (let rest = value; rest >= 0x4000; rest /= 0x80) size += 1;
    let at = this.take(size);
    let rest = value;
    for (; rest > 0x7fff_ffff; rest = Math.floor(rest / 0x80)) this.buffer[at++] = (rest % 0x80) | 0x80;
    for (; rest >= 0x80; rest >>>= 7) this.buffer[at++] = (rest & 0x7f) | 0x80;
    this.buffer[at] = rest;
  }

  private bigVarint(value: bigint): void {
    let size = 1;
    for (let rest = value; rest >= 0x80n; rest >>= 7n) size += 1;
    let at = this.take(size);
    let rest = value;
    for (; rest >= 0x80n; rest >>= 7n) this.buffer[at++] = Number(rest & 0x7fn) | 0x80;
    this.buffer[at] = Number(rest);
  }

  private shortAscii(value: string): boolean {
    this.reserve(value.length);
    const at = this.start - value.length;
    for (let index = 0; index < value.length; index += 1) {
      const code = value.charCodeAt(index);
      if (code > 0x7f) return false;
      this.buffer[at + index] = code;
    }
    this.start = at;
    return true;
  }

  /** Makes room and says where it is; before anything else touches the buffer, which may be another one then. */
  private take(size: number): number {
    this.reserve(size);
    this.start -= size;
    return this.start;
  }

  private reserve(size: number): void {
    if (this.start < size) this.grow(size);
  }

  private grow(size: number): void {
    const { length } = this;
    const bytes = this.bytes();
    let capacity = this.buffer.length * 2;
    while (capacity < length + size) capacity *= 2;
    const grown = Buffer.allocUnsafeSlow(capacity);
    bytes.copy(grown, capacity - length);
    this.adopt(grown);
    this.start = capacity - length;
  }

  private adopt(buffer: Buffer<ArrayBuffer>): void {
    this.buffer = buffer;
    this.view = new DataView(buffer.buffer);
  }
}

function notA(type: string): TypeError {
  return new TypeError(`a value is no ${type}`);
}
