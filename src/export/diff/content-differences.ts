import type { GuestDisk } from "../guest-disk.ts";

/** Content is compared in units of this many bytes, counted from the beginning of the disk. */
export const CONTENT_UNIT = 512;

const PIECE_BYTES = 1024 * 1024;

/** A range of the disk, in bytes. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/**
 * What of `ranges` really differs, exact to 512 bytes and merged. What lies
 * behind the end of one of the disks differs whatever it holds.
 * @param ranges ascending, as `diffSnapshots` has them
 */
export async function* contentDifferences(
  ranges: AsyncIterable<ByteRange> | Iterable<ByteRange>,
  from: GuestDisk,
  to: GuestDisk,
  checkpoint: () => void = () => undefined,
): AsyncGenerator<ByteRange> {
  const common = Math.min(from.size, to.size);
  const one = Buffer.allocUnsafeSlow(PIECE_BYTES);
  const other = Buffer.allocUnsafeSlow(PIECE_BYTES);
  let open: { offset: number; length: number } | undefined;
  for await (const { offset, length } of ranges) {
    const end = offset + length;
    for (let at = offset; at < end;) {
      checkpoint();
      const isCommon = at < common;
      // Pieces end at whole units, so that each unit is seen at once.
      const stop = isCommon ? Math.min(end, common, at - (at % CONTENT_UNIT) + PIECE_BYTES) : end;
      const size = stop - at;
      const found = isCommon
        ? await differing(at, one.subarray(0, size), other.subarray(0, size), from, to)
        : [{ offset: at, length: size }];
      for (const range of found) {
        if (open !== undefined && open.offset + open.length === range.offset) {
          open.length += range.length;
          continue;
        }
        if (open !== undefined) yield open;
        open = { ...range };
      }
      at = stop;
    }
  }
  if (open !== undefined) yield open;
}

async function differing(
  at: number,
  one: Buffer,
  other: Buffer,
  from: GuestDisk,
  to: GuestDisk,
): Promise<ByteRange[]> {
  await Promise.all([from.read(at, one), to.read(at, other)]);
  if (one.equals(other)) return [];
  return [...differingUnits(one, other, CONTENT_UNIT, at)];
}

/** Runs of units in which two pieces of the same length differ. Units are counted from the beginning of the disk, where the pieces lie at `base`. */
export function* differingUnits(
  one: Buffer,
  other: Buffer,
  unit: number,
  base: number,
): Generator<ByteRange> {
  let start = -1;
  let at = 0;
  while (at < one.length) {
    const stop = Math.min(one.length, at + unit - ((base + at) % unit));
    const isSame = one.compare(other, at, stop, at, stop) === 0;
    if (!isSame && start < 0) start = at;
    if (isSame && start >= 0) {
      yield { offset: base + start, length: at - start };
      start = -1;
    }
    at = stop;
  }
  if (start >= 0) yield { offset: base + start, length: one.length - start };
}
