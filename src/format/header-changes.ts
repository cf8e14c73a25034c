import type { BytePatch } from "./fence.ts";
import { HEADER, V3_HEADER_LENGTH } from "./header.ts";

/** A field of the header that patches change, by its name in the qcow2 specification's terms. */
export interface HeaderFieldChange {
  readonly field: string;
  readonly from: bigint;
  readonly to: bigint;
}

/**
 * What patches of the first cluster mean, field by field, as far as they cover
 * whole fields of the header; extensions behind it are none.
 */
export function headerChanges(patches: readonly BytePatch[]): HeaderFieldChange[] {
  const from = new Uint8Array(V3_HEADER_LENGTH);
  const to = new Uint8Array(V3_HEADER_LENGTH);
  const known = new Uint8Array(V3_HEADER_LENGTH);
  for (const { offset, before, after } of patches) {
    for (let at = 0; at < before.length && offset + at < V3_HEADER_LENGTH; at += 1) {
      if (known[offset + at] === 0) from[offset + at] = before[at] ?? 0;
      to[offset + at] = after[at] ?? 0;
      known[offset + at] = 1;
    }
  }
  return Object.entries(HEADER).flatMap(([field, { offset, size }]) => {
    const isKnown = known.subarray(offset, offset + size).every((byte) => byte === 1);
    const [one, other] = [number(from, offset, size), number(to, offset, size)];
    return isKnown && one !== other ? [{ field, from: one, to: other }] : [];
  });
}

function number(bytes: Uint8Array, offset: number, size: number): bigint {
  let value = 0n;
  for (const byte of bytes.subarray(offset, offset + size)) value = (value << 8n) | BigInt(byte);
  return value;
}
