/**
 * Takes a fence off without the record of how it was put on. Its explanation
 * lies where every byte was zero before; but if power failed while it was being
 * written, any of its sectors may be missing, its first one included. What is
 * not recognised as ours stays: other programs hide data behind the END marker.
 */
import { EXTENSION, type ExtensionArea, extensionBytes } from "./extensions.ts";
import { type BytePatch, MAX_OWNER_BYTES, featureNameTable } from "./fence.ts";
import { type Header, fenceMark } from "./header.ts";
import { SECTOR_SIZE } from "./units.ts";

const SPACE = 0x20;
/** The last key of an owner, and others that tell its text from another. */
const OWNER_END = '"transaction":';
const OWNER_KEYS = ['{"journal":"', '"journalId":"', OWNER_END];

const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);

/** The ends of [from, to) at sector boundaries: what is written whole or not at all. */
function* sectors(from: number, to: number): Generator<readonly [start: number, end: number]> {
  for (let start = from; start < to;) {
    const end = Math.min(to, (Math.floor(start / SECTOR_SIZE) + 1) * SECTOR_SIZE);
    yield [start, end];
    start = end;
  }
}

/** True when each sector of `cluster` at `offset` shows `bytes` or zeros. */
function showsOrLost(cluster: Uint8Array, offset: number, bytes: Uint8Array): boolean {
  if (offset + bytes.length > cluster.length) return false;
  for (const [start, end] of sectors(offset, offset + bytes.length)) {
    const shown = cluster.subarray(start, end);
    const ours = bytes.subarray(start - offset, end - offset);
    if (!isZero(shown) && Buffer.compare(shown, ours) !== 0) return false;
  }
  return true;
}

/** Where the explanation begins: at the END marker that it took the place of. */
function explanationStart(header: Header, area: ExtensionArea, cluster: Uint8Array): number | undefined {
  const names = featureNameTable();
  const first = area.extensions.find(({ type, offset }) =>
    header.geometry.version === 2
      ? type === EXTENSION.fence
      : type === EXTENSION.fence || showsOrLost(cluster, offset, names),
  );
  return first?.offset ?? area.endOffset;
}

/** First byte from `start` on, at most `end`, that no text of ours contains. */
function textEnd(cluster: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end && (cluster[at] ?? 0) >= SPACE) at += 1;
  return at;
}

/** How the text of an owner ends, as far back as a sector boundary leaves it. */
function endsLikeOwner(text: string): boolean {
  const key = /^(?<key>.*?)\d*\}$/s.exec(text)?.groups?.["key"];
  return key !== undefined && (key.endsWith(OWNER_END) || OWNER_END.endsWith(key));
}

/**
 * End of what the owner's extension left when the sector with its head was lost,
 * `from` when nothing shows that it left anything. Sectors in the middle of a
 * long path look like anybody's text: they are ours only where its end follows.
 */
function headlessOwnerEnd(cluster: Uint8Array, from: number, to: number): number {
  let known = from;
  for (const [start, end] of sectors(from, to)) {
    // A sector that does not begin with text was lost, or is none of ours.
    if (start % SECTOR_SIZE !== 0 || cluster[start] === 0) continue;
    const stop = textEnd(cluster, start, end);
    const text = new TextDecoder().decode(cluster.subarray(start, stop));
    if (stop < end) return endsLikeOwner(text) ? stop : known;
    if (endsLikeOwner(text) || OWNER_KEYS.some((key) => text.includes(key))) known = stop;
  }
  return known;
}

/** First byte behind the explanation that begins at `start`. */
function explanationEnd(header: Header, area: ExtensionArea, cluster: Uint8Array, start: number): number {
  const names = header.geometry.version === 3 ? featureNameTable() : new Uint8Array(0);
  if (!showsOrLost(cluster, start, names)) return start;
  const owner = start + names.length;
  const view = new DataView(cluster.buffer, cluster.byteOffset, cluster.byteLength);
  if (owner + 8 > area.limit) return owner;
  const length = view.getUint32(owner + 4);
  if (view.getUint32(owner) === EXTENSION.fence && length > 0 && length <= MAX_OWNER_BYTES) {
    return Math.min(area.limit, owner + extensionBytes(length));
  }
  const torn = cluster.subarray(owner, owner + 8);
  const rest = Math.min(area.limit, owner + 8 + MAX_OWNER_BYTES);
  // The head may itself be cut in two by a sector boundary.
  const head = isZero(torn) || view.getUint32(owner) === EXTENSION.fence ? owner + 8 : owner;
  return Math.max(owner, headlessOwnerEnd(cluster, head, rest), isZero(torn) ? owner : head);
}

/**
 * The patches that clear what there is of a fence's explanation, and the one
 * that clears its mark. Applied in this order, with a sync in between, they
 * leave the bytes that were there before the image was fenced.
 */
export function unfencePatches(
  header: Header,
  area: ExtensionArea,
  cluster: Uint8Array,
): { readonly explanation: readonly BytePatch[]; readonly mark: BytePatch } {
  const { offset, mask } = fenceMark(header.geometry.version);
  const before = cluster.slice(offset, offset + 1);
  const mark = { offset, before, after: Uint8Array.of((before[0] ?? 0) & ~mask) };
  const start = explanationStart(header, area, cluster);
  if (start === undefined) return { explanation: [], mark };
  const shown = cluster.slice(start, explanationEnd(header, area, cluster, start));
  if (isZero(shown)) return { explanation: [], mark };
  return { explanation: [{ offset: start, before: shown, after: new Uint8Array(shown.length) }], mark };
}
