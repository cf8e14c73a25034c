import * as zlib from "node:zlib";

/** The bytes of a compressed cluster, or null where they cannot be known here; `stream` is what identifies them then. */
export interface Decompressed {
  readonly bytes: Uint8Array | null;
  readonly stream: Uint8Array;
}

/**
 * Of small clusters what was unpacked is known by all of its bytes: the images
 * of a search differ in a few sectors, and to make an unpacker takes longer than
 * it works. Not to be written to.
 */
const KNOWN = new Map<string, Decompressed>();
const MOST_KNOWN = 2000;
const SMALL_BYTES = 4096;

/** `payload` may run past the end of the stream: a descriptor counts whole sectors. */
export function decompress(type: number, payload: Uint8Array, clusterSize: number): Decompressed {
  if (payload.length > SMALL_BYTES || clusterSize > SMALL_BYTES) return unpack(type, payload, clusterSize);
  const { buffer, byteOffset, length } = payload;
  const key = `${type} ${clusterSize} ${Buffer.from(buffer, byteOffset, length).toString("latin1")}`;
  const known = KNOWN.get(key);
  if (known !== undefined) return known;
  // A copy: what is kept must not keep the whole image, nor change with it.
  const result = unpack(type, payload.slice(), clusterSize);
  if (KNOWN.size >= MOST_KNOWN) KNOWN.clear();
  KNOWN.set(key, result);
  return result;
}

const unpack = (type: number, payload: Uint8Array, clusterSize: number): Decompressed =>
  type === 0 ? inflate(payload, clusterSize) : unzstd(payload, clusterSize);

function inflate(payload: Uint8Array, clusterSize: number): Decompressed {
  try {
    const bytes = zlib.inflateRawSync(payload, {
      finishFlush: zlib.constants.Z_SYNC_FLUSH,
      maxOutputLength: clusterSize,
    });
    return { bytes: bytes.length === clusterSize ? new Uint8Array(bytes) : null, stream: payload };
  } catch {
    return { bytes: null, stream: payload };
  }
}

/** Reads raw and run-length blocks itself; entropy-coded ones only where this Node has zstd. */
function unzstd(payload: Uint8Array, clusterSize: number): Decompressed {
  const at = (i: number): number => payload[i] ?? 0;
  const descriptor = at(4);
  const single = (descriptor & 0x20) !== 0;
  const sizeFlag = descriptor >>> 6;
  const sizeBytes = [single ? 1 : 0, 2, 4, 8][sizeFlag] ?? 0;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
  let position = 5 + (single ? 0 : 1) + dictionaryBytes + sizeBytes;
  const bytes = new Uint8Array(clusterSize);
  let filled = 0;
  let plain = at(0) === 0x28 && at(1) === 0xb5 && at(2) === 0x2f && at(3) === 0xfd;
  for (let last = false; !last && position + 3 <= payload.length;) {
    const header = at(position) | (at(position + 1) << 8) | (at(position + 2) << 16);
    last = (header & 1) === 1;
    const type = (header >>> 1) & 3;
    const size = header >>> 3;
    position += 3;
    if (type === 0) {
      const raw = payload.subarray(position, position + size);
      if (filled + raw.length <= clusterSize) bytes.set(raw, filled);
    } else if (type === 1) bytes.fill(at(position), filled, filled + size);
    else plain = false;
    filled += size;
    position += type === 1 ? 1 : size;
  }
  if ((descriptor & 4) !== 0) position += 4;
  const stream = payload.subarray(0, position);
  if (plain && filled === clusterSize) return { bytes, stream };
  return { bytes: nativeUnzstd(stream, clusterSize), stream };
}

function nativeUnzstd(stream: Uint8Array, clusterSize: number): Uint8Array | null {
  const unpack: unknown = Reflect.get(zlib, "zstdDecompressSync");
  if (typeof unpack !== "function") return null;
  try {
    const bytes: unknown = Reflect.apply(unpack, zlib, [stream]);
    return bytes instanceof Uint8Array && bytes.length === clusterSize ? bytes : null;
  } catch {
    return null;
  }
}
