import { EXTENSION, type ExtensionArea, extensionBytes } from "./extensions.ts";
import type { BytePatch } from "./fence.ts";
import { AUTOCLEAR_BITMAPS, type Header } from "./header.ts";
import { SECTOR_SIZE } from "./units.ts";

const HEAD_BYTES = 8;

const isInOneSector = (from: number, to: number): boolean =>
  Math.floor(from / SECTOR_SIZE) === Math.floor((to - 1) / SECTOR_SIZE);

/**
 * Takes the bitmaps extension out of the header: patches to be applied in this
 * order, with a sync after each. Its autoclear bit has to be clear by then: an
 * extension for which that does not vouch means nothing, so every state in
 * between is the same image to every reader. Empty without the extension;
 * undefined where others follow it over a sector boundary, and a torn write
 * could leave an area that nobody can read.
 */
export function bitmapsRemoval(area: ExtensionArea, cluster: Uint8Array): readonly BytePatch[] | undefined {
  const extension = area.extensions.find(({ type }) => type === EXTENSION.bitmaps);
  const last = area.extensions.at(-1);
  if (extension === undefined || last === undefined) return [];
  const from = extension.offset;
  const length = extensionBytes(extension.data.length);
  const to = area.endOffset ?? Math.min(area.limit, last.offset + extensionBytes(last.data.length));
  const patch = (start: number, after: Uint8Array): BytePatch => ({
    offset: start,
    before: cluster.slice(start, start + after.length),
    after,
  });
  if (isInOneSector(from, to)) {
    const after = new Uint8Array(to - from);
    after.set(cluster.subarray(from + length, to));
    return [patch(from, after)];
  }
  if (extension !== last || !isInOneSector(from, from + HEAD_BYTES)) return undefined;
  // The head last: zeroed, it is the END marker, and what lies behind that has to be zeros by then.
  return [
    patch(from + HEAD_BYTES, new Uint8Array(length - HEAD_BYTES)),
    patch(from, new Uint8Array(HEAD_BYTES)),
  ];
}

/** True for an extension whose bitmaps nothing vouches for: QEMU drops it when it next writes the header. */
export function hasStaleBitmaps(header: Header, area: ExtensionArea): boolean {
  return (
    (header.autoclearFeatures & AUTOCLEAR_BITMAPS) === 0n &&
    area.extensions.some(({ type }) => type === EXTENSION.bitmaps)
  );
}
