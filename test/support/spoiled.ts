import { parseHeader } from "./naive-qcow2.ts";
import { FileBytes } from "./naive-qcow2/file.ts";
import type { Random } from "./random.ts";

const SECTOR = 512;

/**
 * Random refcounts and COPIED flags, and entries that read as zeros and keep a
 * cluster at an odd place: nothing of it says what users see.
 */
export function spoiled(sound: Uint8Array, random: Random): Buffer {
  const bytes = Buffer.from(sound);
  const { l1Offset, l1Size, refcountTableOffset, version, clusterSize, extendedL2 } = parseHeader(
    new FileBytes(bytes),
    {},
  );
  const target = (at: number): number => Number(bytes.readBigUInt64BE(at) & 0x00ff_ffff_ffff_fe00n);
  const blocks = Array.from({ length: clusterSize / 8 }, (_, slot) => target(refcountTableOffset + slot * 8));
  for (const block of blocks.filter((offset) => offset !== 0)) {
    if (random.chance(0.2)) bytes.fill(0, block, block + clusterSize);
    for (let count = random.int(20); count > 0; count -= 1) {
      // Low bits of any width: a 64-bit refcount out of reach is another test.
      // Half of it where a small image has its clusters.
      const span = random.chance(0.5) ? 64 : clusterSize;
      const at = block + random.int(span / 8) * 8 + 7;
      bytes[at] = (bytes[at] ?? 0) ^ (1 << random.int(8));
    }
  }
  for (let slot = 0; slot < l1Size; slot += 1) {
    if (target(l1Offset + slot * 8) !== 0 && random.chance(0.3)) {
      bytes[l1Offset + slot * 8] = (bytes[l1Offset + slot * 8] ?? 0) ^ 0x80;
    }
  }
  if (version === 3 && !extendedL2 && clusterSize > SECTOR) {
    for (let slot = 0; slot < l1Size; slot += 1) {
      const table = target(l1Offset + slot * 8);
      if (table === 0) continue;
      for (let at = table; at < table + clusterSize; at += 8) {
        const isCompressed = ((bytes[at] ?? 0) & 0x40) !== 0;
        const isZero = ((bytes[at + 7] ?? 0) & 1) !== 0;
        if (!isCompressed && isZero && target(at) !== 0 && random.chance(0.5)) {
          bytes[at + 6] = (bytes[at + 6] ?? 0) | (SECTOR >>> 8);
        }
      }
    }
  }
  if (version === 3 && random.chance(0.4)) bytes[79] = (bytes[79] ?? 0) | (1 + random.int(3));
  return bytes;
}
