import { deflateRawSync } from "node:zlib";
import { roundUp, view } from "./bytes.ts";
import { mix32 } from "./random.ts";

/** The bytes of a data cluster: noise, so that no two seeds and no two offsets look alike. */
export function noise(seed: number, size: number): Uint8Array {
  const words = new Uint32Array(roundUp(size, 4) / 4);
  let state = mix32(seed) | 1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return new Uint8Array(words.buffer, 0, size);
}

/** One of four runs of a byte that is never zero. */
function runs(seed: number, size: number): readonly { byte: number; length: number }[] {
  const bits = mix32(seed);
  return [0, 8, 16, 24].map((shift) => ({ byte: ((bits >>> shift) & 0xff) | 1, length: size / 4 }));
}

/** The bytes of a compressed cluster: four runs, which both methods can express in a few bytes. */
export function compressible(seed: number, size: number): Uint8Array {
  const result = new Uint8Array(size);
  let at = 0;
  for (const { byte, length } of runs(seed, size)) {
    result.fill(byte, at, at + length);
    at += length;
  }
  return result;
}

/** A zstd frame of run-length blocks, written by hand: Node 20 has no zstd. */
function zstdFrame(seed: number, size: number): Uint8Array {
  const blocks: { byte: number; length: number }[] = [];
  for (const { byte, length } of runs(seed, size)) {
    for (let left = length; left > 0; left -= 128 * 1024) {
      blocks.push({ byte, length: Math.min(left, 128 * 1024) });
    }
  }
  const frame = new Uint8Array(9 + 4 * blocks.length);
  const fields = view(frame);
  fields.setUint32(0, 0xfd2fb528, true);
  fields.setUint8(4, 0xa0); // single segment, content size in 4 bytes
  fields.setUint32(5, size, true);
  blocks.forEach(({ byte, length }, i) => {
    const last = i === blocks.length - 1 ? 1 : 0;
    const header = last | (1 << 1) | (length << 3);
    fields.setUint16(9 + 4 * i, header & 0xffff, true);
    fields.setUint8(11 + 4 * i, header >>> 16);
    fields.setUint8(12 + 4 * i, byte);
  });
  return frame;
}

/** QEMU inflates with a window of 4 KiB, so a wider one must not be used. */
export function compress(method: "zlib" | "zstd", seed: number, size: number): Uint8Array {
  return method === "zstd"
    ? zstdFrame(seed, size)
    : new Uint8Array(deflateRawSync(compressible(seed, size), { windowBits: 12, level: 9 }));
}
