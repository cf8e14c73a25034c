/** A field of an on-disk structure: its name, where it starts and how many bytes it has. All integers are big endian. */
export interface Field {
  readonly offset: number;
  readonly size: 1 | 2 | 4 | 8;
}

/**
 * Derives each field's offset from the fields before it, so that none is typed
 * by hand, and checks the total against the size the specification states.
 */
export function layout<Name extends string>(
  specifiedSize: number,
  fields: readonly (readonly [Name, Field["size"]])[],
): Readonly<Record<Name, Field>> {
  let offset = 0;
  const result: Partial<Record<Name, Field>> = {};
  for (const [name, size] of fields) {
    result[name] = { offset, size };
    offset += size;
  }
  if (offset !== specifiedSize)
    throw new Error(`layout has ${offset} bytes, specification says ${specifiedSize}`);
  return result as Record<Name, Field>;
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Reads a field of up to 4 bytes; `base` is where the structure starts. */
export function readField(bytes: Uint8Array, field: Field, base = 0): number {
  const at = base + field.offset;
  switch (field.size) {
    case 1:
      return view(bytes).getUint8(at);
    case 2:
      return view(bytes).getUint16(at);
    case 4:
      return view(bytes).getUint32(at);
    case 8:
    default:
      throw new TypeError("an 8-byte field is read with readField64");
  }
}

export function readField64(bytes: Uint8Array, field: Field, base = 0): bigint {
  return view(bytes).getBigUint64(base + field.offset);
}

export function writeField(bytes: Uint8Array, field: Field, value: number | bigint, base = 0): void {
  const at = base + field.offset;
  switch (field.size) {
    case 1:
      view(bytes).setUint8(at, Number(value));
      return;
    case 2:
      view(bytes).setUint16(at, Number(value));
      return;
    case 4:
      view(bytes).setUint32(at, Number(value));
      return;
    case 8:
      view(bytes).setBigUint64(at, BigInt(value));
  }
}
