import { EXTENSION, type ExtensionArea, encodeExtension } from "./extensions.ts";
import { FENCE_BIT, type Header, fenceMark } from "./header.ts";

/** Bytes of the first cluster before and after a change. Both have the same length. */
export interface BytePatch {
  readonly offset: number;
  readonly before: Uint8Array;
  readonly after: Uint8Array;
}

/** Who holds a fenced image: enough to find the journal that can finish it. */
export interface FenceOwner {
  /** Absolute path of the journal directory. */
  readonly journal: string;
  readonly journalId: string;
  readonly transaction: number;
}

/** What every qemu prints when it refuses a fenced version 3 image. At most 46 bytes. */
export const FENCE_TEXT = "qcowal: interrupted, run 'qcowal recover'";

const FEATURE_TYPE_INCOMPATIBLE = 0;
const FEATURE_NAME_BYTES = 46;
/** A longer owner is left out: the fence must fit where the smallest header has room, and it is a hint only. */
export const MAX_OWNER_BYTES = 4096;

/** The feature name table that holds nothing but the fence's bit. */
export function featureNameTable(): Uint8Array {
  const entry = new Uint8Array(2 + FEATURE_NAME_BYTES);
  entry[0] = FEATURE_TYPE_INCOMPATIBLE;
  entry[1] = FENCE_BIT;
  entry.set(new TextEncoder().encode(FENCE_TEXT), 2);
  return encodeExtension(EXTENSION.featureNames, entry);
}

function ownerExtension(owner: FenceOwner): Uint8Array {
  const bytes = new TextEncoder().encode(JSON.stringify(owner));
  return bytes.length > MAX_OWNER_BYTES ? new Uint8Array(0) : encodeExtension(EXTENSION.fence, bytes);
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const result = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}

/**
 * The extensions that explain the fence, as far as there is room behind the END
 * marker. The room must read as zeros: programs hide data there, and with the
 * journal lost nobody could restore it.
 */
function explanation(
  header: Header,
  area: ExtensionArea,
  cluster: Uint8Array,
  owner: FenceOwner,
): BytePatch[] {
  if (area.endOffset === undefined) return [];
  const names = header.geometry.version === 3 ? featureNameTable() : new Uint8Array(0);
  const end = new Uint8Array(8);
  for (const parts of [
    [names, ownerExtension(owner), end],
    [names, end],
  ]) {
    const after = concat(parts);
    const room = cluster.subarray(area.endOffset, area.limit);
    if (after.length > room.length || after.length === end.length) continue;
    const before = room.slice(0, after.length);
    if (before.every((byte) => byte === 0)) return [{ offset: area.endOffset, before, after }];
  }
  return [];
}

/**
 * The byte changes that fence an image; reversed they restore the header
 * exactly. The last patch is the mark itself, one byte of the first sector.
 * `cluster` is the first cluster of the image, not fenced.
 */
export function fencePatches(
  header: Header,
  area: ExtensionArea,
  cluster: Uint8Array,
  owner: FenceOwner,
): readonly BytePatch[] {
  const { offset, mask } = fenceMark(header.geometry.version);
  const before = cluster.slice(offset, offset + 1);
  const after = Uint8Array.of((before[0] ?? 0) | mask);
  return [...explanation(header, area, cluster, owner), { offset, before, after }];
}

/** The owner that a fenced image names, or undefined where its header had no room for one. */
export function fenceOwner(area: ExtensionArea): FenceOwner | undefined {
  const extension = area.extensions.find((candidate) => candidate.type === EXTENSION.fence);
  if (extension === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(extension.data));
    return isFenceOwner(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isFenceOwner(value: unknown): value is FenceOwner {
  if (typeof value !== "object" || value === null) return false;
  const { journal, journalId, transaction } = value as Partial<FenceOwner>;
  return typeof journal === "string" && typeof journalId === "string" && Number.isSafeInteger(transaction);
}
