import {
  type BitmapDirectory,
  type BitmapEntry,
  type HostSpan,
  bitmapDirectory,
  bitmapDirectoryProblem,
  bitmapExtensionProblem,
  decodeBitmapDirectory,
  entryOffset,
  isBitmapEntry,
} from "../format/index.ts";
import type { Image } from "./image.ts";

const PIECE_BYTES = 1024 * 1024;

export interface Bitmaps {
  readonly directory: BitmapDirectory;
  readonly bitmaps: readonly BitmapEntry[];
  /** What QEMU objects to; it does not open such an image. */
  readonly problem: string | undefined;
}

/**
 * The persistent bitmaps that the image names, whether or not its autoclear bit
 * vouches for them; undefined without any.
 * @throws QcowalError IMAGE_INVALID
 */
export async function readBitmapDirectory({
  disk,
  area,
  header,
}: Pick<Image, "disk" | "area" | "header">): Promise<Bitmaps | undefined> {
  const directory = bitmapDirectory(area);
  if (directory === undefined) return undefined;
  const bytes = new Uint8Array(directory.length);
  await disk.read(directory.offset, bytes);
  return {
    directory,
    bitmaps: decodeBitmapDirectory(bytes, directory.count),
    problem:
      bitmapExtensionProblem(area, header.geometry) ??
      bitmapDirectoryProblem(bytes, directory.count, header.geometry, header.virtualSize),
  };
}

/**
 * Host offsets of the clusters that hold a bitmap, piece by piece of its table;
 * negative for an entry that is invalid. An entry is a cluster's offset like that
 * of an L1 table, or a flag in bit 0 and no cluster.
 */
export async function* readBitmapTable(
  { disk, header }: Pick<Image, "disk" | "header">,
  table: HostSpan,
): AsyncGenerator<readonly number[]> {
  // A length from the file: what lies behind its end holds no entries.
  const end = Math.min(table.offset + table.length, await disk.size());
  for (let at: number = table.offset; at < end; at += PIECE_BYTES) {
    const piece = new Uint8Array(Math.min(PIECE_BYTES, end - at));
    await disk.read(at, piece);
    const view = new DataView(piece.buffer);
    const targets: number[] = [];
    for (let entry = 0; entry + 8 <= piece.length; entry += 8) {
      const high = view.getUint32(entry);
      const low = view.getUint32(entry + 4);
      const offset = entryOffset(high, low);
      const isValid = isBitmapEntry(header.geometry, high, low) && Number.isSafeInteger(offset);
      if (!isValid) targets.push(-1);
      else if (offset !== 0) targets.push(offset);
    }
    yield targets;
  }
}
