import type { Geometry } from "./geometry.ts";
import { HEADER, QCOW2_MAGIC, V3_HEADER_LENGTH } from "./header.ts";
import { writeField } from "./layout.ts";

/** Behind the fields of version 3: compression type and padding, both 0 for zlib. */
const COMPRESSION_TYPE_BYTES = 8;
/** An END marker and no header extension before it. */
const END_BYTES = 8;

export interface NewHeader {
  /** Version 3, without extended L2 entries. */
  readonly geometry: Geometry;
  /** Whole sectors: QEMU leaves out a part of one. */
  readonly virtualSize: number;
  readonly l1: { readonly offset: number; readonly entries: number };
  readonly refcountTable: { readonly offset: number; readonly clusters: number };
}

/** The header of an image of its own: no backing file, no snapshot, no feature that an old reader would not know. */
export function encodeNewHeader({ geometry, virtualSize, l1, refcountTable }: NewHeader): Uint8Array {
  const headerLength = V3_HEADER_LENGTH + COMPRESSION_TYPE_BYTES;
  const bytes = new Uint8Array(headerLength + END_BYTES);
  writeField(bytes, HEADER.magic, QCOW2_MAGIC);
  writeField(bytes, HEADER.version, 3);
  writeField(bytes, HEADER.clusterBits, geometry.clusterBits);
  writeField(bytes, HEADER.size, virtualSize);
  writeField(bytes, HEADER.l1Size, l1.entries);
  writeField(bytes, HEADER.l1TableOffset, l1.offset);
  writeField(bytes, HEADER.refcountTableOffset, refcountTable.offset);
  writeField(bytes, HEADER.refcountTableClusters, refcountTable.clusters);
  writeField(bytes, HEADER.refcountOrder, geometry.refcountOrder);
  writeField(bytes, HEADER.headerLength, headerLength);
  return bytes;
}
