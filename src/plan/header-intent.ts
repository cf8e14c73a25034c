import {
  AUTOCLEAR_BITMAPS,
  type BytePatch,
  HEADER,
  INCOMPATIBLE,
  KNOWN_AUTOCLEAR,
  type Header,
  writeField,
} from "../format/index.ts";
import type { HeaderIntent } from "../intent/index.ts";

/** Header fields as they are to be. All lie in the first 72 bytes, so one sector write switches them together. */
export interface HeaderChange {
  readonly virtualSize: number;
  readonly l1Size: number;
  readonly l1TableOffset: number;
  readonly refcountTableOffset: number;
  readonly refcountTableClusters: number;
  readonly snapshotCount: number;
  readonly snapshotsOffset: number;
  /** Takes the mark of an image that was not closed cleanly away. */
  readonly notDirty?: boolean;
  /** The same for the mark of an image that was found corrupt. */
  readonly notCorrupt?: boolean;
  /** Takes back what vouches for the persistent bitmaps: from there on they mean nothing to anybody. */
  readonly dropsBitmaps?: boolean;
}

const FIRST = HEADER.size.offset;
const END = HEADER.snapshotsOffset.offset + HEADER.snapshotsOffset.size;

/**
 * The switch: one intent, or none where operations cancel out. An intent that
 * changes nothing would show its state before and after at once, and recovery
 * could not tell whether the transaction has begun to be applied.
 */
export function headerIntents(header: Header, cluster: Uint8Array, change: HeaderChange): HeaderIntent[] {
  const head = cluster.slice(0, END);
  writeField(head, HEADER.size, change.virtualSize);
  writeField(head, HEADER.l1Size, change.l1Size);
  writeField(head, HEADER.l1TableOffset, change.l1TableOffset);
  writeField(head, HEADER.refcountTableOffset, change.refcountTableOffset);
  writeField(head, HEADER.refcountTableClusters, change.refcountTableClusters);
  writeField(head, HEADER.nbSnapshots, change.snapshotCount);
  writeField(head, HEADER.snapshotsOffset, change.snapshotsOffset);
  const fields: BytePatch = { offset: FIRST, before: cluster.slice(FIRST, END), after: head.slice(FIRST) };
  const patches = [
    fields,
    ...damageMarks(cluster, change),
    ...autoclear(header, change.dropsBitmaps === true),
  ].filter(({ before, after }) => Buffer.compare(before, after) !== 0);
  return patches.length === 0 ? [] : [{ kind: "header", patches }];
}

/**
 * The specification asks whoever writes an image to clear the autoclear bits it
 * does not know: what they vouch for may no longer hold.
 */
function autoclear(header: Header, dropsBitmaps: boolean): BytePatch[] {
  const kept =
    header.autoclearFeatures & (dropsBitmaps ? KNOWN_AUTOCLEAR & ~AUTOCLEAR_BITMAPS : KNOWN_AUTOCLEAR);
  if (kept === header.autoclearFeatures) return [];
  const bytes = (value: bigint): Uint8Array => {
    const field = new Uint8Array(8);
    new DataView(field.buffer).setBigUint64(0, value);
    return field;
  };
  return [
    { offset: HEADER.autoclearFeatures.offset, before: bytes(header.autoclearFeatures), after: bytes(kept) },
  ];
}

/** The dirty and the corrupt bit, which share the last byte of the incompatible features. */
function damageMarks(cluster: Uint8Array, { notDirty, notCorrupt }: HeaderChange): BytePatch[] {
  const marks =
    (notDirty === true ? Number(INCOMPATIBLE.dirty) : 0) |
    (notCorrupt === true ? Number(INCOMPATIBLE.corrupt) : 0);
  if (marks === 0) return [];
  const offset = HEADER.incompatibleFeatures.offset + HEADER.incompatibleFeatures.size - 1;
  const before = cluster.slice(offset, offset + 1);
  return [{ offset, before, after: before.map((byte) => byte & ~marks) }];
}
