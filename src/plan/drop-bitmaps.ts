import { QcowalError } from "../errors/index.ts";
import { AUTOCLEAR_BITMAPS, type BytePatch, bitmapCount, bitmapsRemoval } from "../format/index.ts";
import { type Image, readBitmapDirectory, readBitmapTable } from "../image/index.ts";
import { damagedImage } from "./damaged-image.ts";
import type { StoredBytes } from "./released.ts";

/** How many persistent bitmaps the image has; those that nothing vouches for are nobody's any more. */
export const validBitmaps = ({ header, area }: Image): number =>
  header.autoclearFeatures & AUTOCLEAR_BITMAPS ? bitmapCount(area) : 0;

export async function bitmapNames(image: Image): Promise<readonly string[]> {
  const found = await readBitmapDirectory(image);
  return found?.bitmaps.map(({ name }) => name) ?? [];
}

/** The patches of the header; see `bitmapsRemoval`. @throws QcowalError IMAGE_UNSUPPORTED */
export function headerWithoutBitmaps(image: Image): readonly BytePatch[] {
  const removal = bitmapsRemoval(image.area, image.cluster);
  if (removal !== undefined) return removal;
  throw new QcowalError(
    "IMAGE_UNSUPPORTED",
    `${image.disk.path}: other header extensions follow the one of the bitmaps, so that it cannot be taken out safely. Nothing was changed; remove the bitmaps first ('qemu-img bitmap --remove').`,
  );
}

/** Where the directory, the tables and the data of all bitmaps are stored: nothing refers to them afterwards. */
export async function bitmapPlaces(image: Image): Promise<readonly StoredBytes[]> {
  const found = await readBitmapDirectory(image);
  if (found === undefined) return [];
  // What an entry that is wrong points to belongs to somebody else.
  if (found.problem !== undefined) {
    throw damagedImage(image.disk.path, `the bitmap directory is invalid: ${found.problem}`);
  }
  const places: StoredBytes[] = [found.directory];
  for (const [index, table] of found.bitmaps.entries()) {
    places.push(table);
    for await (const targets of readBitmapTable(image, table)) {
      for (const offset of targets) {
        if (offset < 0) {
          throw damagedImage(image.disk.path, `an entry of the table of bitmap ${index} is invalid`);
        }
        places.push({ offset, length: 1 });
      }
    }
  }
  return places;
}
