const MAGIC = 0xfd2f_b528;
const HEAD_BYTES = 5;
const BLOCK_HEAD_BYTES = 3;
const RLE_BLOCK = 1;

export interface ZstdFrame {
  readonly length: number;
  /** Memory that reading it takes, in bytes. */
  readonly window: number;
}

/**
 * Length and window of the zstd frame at the start of `bytes`; undefined when it is none or
 * is cut off. What is stored of a compressed cluster is whole sectors: behind the
 * frame lies whatever was there before.
 */
export function zstdFrame(bytes: Uint8Array): ZstdFrame | undefined {
  if (bytes.length < HEAD_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0, true) !== MAGIC) return undefined;
  const descriptor = bytes[4] ?? 0;
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const hasChecksum = (descriptor & 0x04) !== 0;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
  const sizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
  let at = HEAD_BYTES + (isSingleSegment ? 0 : 1) + dictionaryBytes + sizeBytes;
  for (let isLast = false; !isLast;) {
    if (at + BLOCK_HEAD_BYTES > bytes.length) return undefined;
    const head = view.getUint16(at, true) + (bytes[at + 2] ?? 0) * 0x1_0000;
    isLast = (head & 1) !== 0;
    at += BLOCK_HEAD_BYTES + (((head >> 1) & 3) === RLE_BLOCK ? 1 : head >> 3);
  }
  if (hasChecksum) at += 4;
  if (at > bytes.length) return undefined;
  if (!isSingleSegment) {
    const base = 2 ** (10 + ((bytes[HEAD_BYTES] ?? 0) >> 3));
    return { length: at, window: base + (base / 8) * ((bytes[HEAD_BYTES] ?? 0) & 7) };
  }
  let window = sizeBytes === 2 ? 256 : 0;
  for (let index = 0; index < sizeBytes; index += 1) {
    window += (bytes[HEAD_BYTES + dictionaryBytes + index] ?? 0) * 2 ** (8 * index);
  }
  return { length: at, window };
}
