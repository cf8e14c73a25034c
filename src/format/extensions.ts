import { QcowalError } from "../errors/index.ts";
import type { Header } from "./header.ts";

export const EXTENSION = {
  end: 0x0000_0000,
  backingFormat: 0xe279_2aca,
  featureNames: 0x6803_f857,
  crypto: 0x0537_be77,
  bitmaps: 0x2385_2875,
  externalDataFile: 0x4441_5441,
  /** "qcwa": says which journal and transaction hold the image; only ever present beside the fence. */
  fence: 0x7163_7761,
} as const;

/** Data of the bitmaps extension. */
export const BITMAPS_BYTES = 24;

export interface HeaderExtension {
  readonly type: number;
  /** Offset of the extension's 8-byte head in the file. */
  readonly offset: number;
  readonly data: Uint8Array;
}

export interface ExtensionArea {
  readonly extensions: readonly HeaderExtension[];
  /** Offset of the END marker; undefined when the area ends without one. */
  readonly endOffset: number | undefined;
  /** First byte behind the area: the backing file name, or the end of the first cluster. */
  readonly limit: number;
}

/** Bytes that an extension with `length` bytes of data occupies: an 8-byte head, the data, padding to 8. */
export function extensionBytes(length: number): number {
  return 8 + Math.ceil(length / 8) * 8;
}

/** Head and padded data of one extension. */
export function encodeExtension(type: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(extensionBytes(data.length));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type);
  view.setUint32(4, data.length);
  bytes.set(data, 8);
  return bytes;
}

/**
 * Reads the header extensions from the first cluster of the image.
 * @throws QcowalError IMAGE_INVALID when a length runs past the area, or is none that QEMU takes
 */
export function decodeExtensions(cluster: Uint8Array, header: Header): ExtensionArea {
  const limit = header.backingFileOffset === 0 ? header.geometry.clusterSize : header.backingFileOffset;
  const view = new DataView(cluster.buffer, cluster.byteOffset, cluster.byteLength);
  const extensions: HeaderExtension[] = [];
  let offset = header.headerLength;
  const tooLarge = (): QcowalError =>
    new QcowalError("IMAGE_INVALID", "Header extension too large. Nothing was changed.");
  while (offset < limit) {
    // QEMU reads a head here whatever is left of the area, zeros too.
    if (offset + 8 > limit) throw tooLarge();
    const type = view.getUint32(offset);
    const length = view.getUint32(offset + 4);
    // QEMU asks this of the END marker, too.
    if (length > limit - offset - 8) throw tooLarge();
    if (type === EXTENSION.end) return { extensions, endOffset: offset, limit };
    // QEMU opens no such image, whether or not the autoclear bit vouches for the bitmaps.
    if (type === EXTENSION.bitmaps && length !== BITMAPS_BYTES) {
      throw new QcowalError("IMAGE_INVALID", "Bitmaps extension has a wrong length. Nothing was changed.");
    }
    extensions.push({ type, offset, data: cluster.slice(offset + 8, offset + 8 + length) });
    offset += extensionBytes(length);
  }
  return { extensions, endOffset: undefined, limit };
}

/** Number of persistent bitmaps, 0 without the extension. */
export function bitmapCount(area: ExtensionArea): number {
  const bitmaps = area.extensions.find((extension) => extension.type === EXTENSION.bitmaps);
  if (bitmaps === undefined) return 0;
  return new DataView(bitmaps.data.buffer, bitmaps.data.byteOffset).getUint32(0);
}
