import { randomBytes, randomFillSync } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { openView } from "../../src/index.ts";
import { compressedRuns } from "../../src/export/compressed-run.ts";
import { unpackFrames } from "../../src/export/decompress.ts";
import type { Segment } from "../../src/export/segment.ts";
import { unpackNatively, unpackPortably } from "../../src/export/unpack-zstd.ts";
import { compress, compressible } from "../../tools/image-maker/content.ts";
import { must } from "../support/programs.ts";
import { requireQemu, tempDir } from "../support/qemu.ts";
import { seededRandom } from "../support/random.ts";
import { streamPlace } from "../support/stream-place.ts";

beforeAll(requireQemu);

const KIB = 1024;
const MIB = 1024 * KIB;

/** Clusters that compress well, badly and not at all, zeros and holes, one beside the other. */
function mixedContent(length: number, unit: number): Buffer {
  const bytes = Buffer.alloc(length);
  const random = seededRandom(3);
  for (let at = 0; at < length; at += unit) {
    const part = bytes.subarray(at, at + unit);
    const kind = random.int(5);
    if (kind === 0) randomFillSync(part);
    else if (kind === 1) part.fill(`line ${at} of a text that goes on and on\n`);
    else if (kind === 2) randomFillSync(part.subarray(0, Math.floor(part.length / 2)));
    else if (kind === 3) part.fill(at / unit);
  }
  return bytes;
}

describe.each(["zlib", "zstd"])("clusters that are compressed with %s", (type) => {
  test.each([4 * KIB, 64 * KIB, 2 * MIB])("of %i bytes read the same in any pieces", async (clusterSize) => {
    const dir = await tempDir();
    // It ends inside a cluster.
    const content = mixedContent(Math.max(4 * MIB, clusterSize * 3) + 1536, clusterSize);
    const raw = join(dir, "a.raw");
    const path = join(dir, "a.qcow2");
    await writeFile(raw, content);
    const options = `compression_type=${type},cluster_size=${clusterSize}`;
    await must("qemu-img", ["convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options, raw, path]);
    await using view = await openView(path);
    expect(view.size).toBe(content.length);
    const whole = Buffer.alloc(view.size, 1);
    await view.read(0, whole);
    expect(whole.equals(content)).toBe(true);
    const random = seededRandom(5);
    for (let index = 0; index < 40; index += 1) {
      const offset = random.int(view.size);
      const target = Buffer.alloc(1 + random.int(Math.min(view.size - offset, 5 * clusterSize)), 1);
      await view.read(offset, target);
      expect(target.equals(content.subarray(offset, offset + target.length)), `read ${index}`).toBe(true);
    }
  });

  test("that are damaged are refused with their place, in a run of sound ones too", async () => {
    const dir = await tempDir();
    const path = join(dir, "a.qcow2");
    await writeFile(join(dir, "a.raw"), Buffer.alloc(MIB, "a text that goes on and on and "));
    const options = ["-o", `compression_type=${type}`, join(dir, "a.raw"), path];
    await must("qemu-img", ["convert", "-c", "-f", "raw", "-O", "qcow2", ...options]);
    const bytes = await readFile(path);
    const stream = await streamPlace(path);
    bytes.fill(0xff, stream, stream + 16);
    await writeFile(path, bytes);
    await using view = await openView(path);
    const whole = view.read(0, Buffer.alloc(MIB));
    await expect(whole).rejects.toMatchObject({
      code: "IMAGE_INVALID",
      message: expect.stringContaining(`0x${stream.toString(16)}`) as unknown,
    });
    await view.read(64 * KIB, Buffer.alloc(64 * KIB));
  });
});

test("streams are read together as far as they are near, and never too much at once", () => {
  const random = seededRandom(11);
  let host = 0;
  const segments = Array.from({ length: 5000 }, (_, index): Segment => {
    const stored = 512 * (1 + random.int(128));
    // Mostly right behind the last one, sometimes far from it, sometimes before it.
    host = Math.max(0, host + (random.int(20) === 0 ? random.int(40 * MIB) - 15 * MIB : -random.int(512)));
    const segment: Segment = { offset: index, length: 1, kind: "compressed", host, stored };
    host += stored;
    return segment;
  });
  const pieces = segments.map((segment) => ({ segment, target: new Uint8Array(1) }));
  const runs = compressedRuns(pieces);
  const together = runs.flatMap((run) => run.pieces);
  expect([together.length, new Set(together).size]).toEqual([pieces.length, pieces.length]);
  expect(runs.length).toBeLessThan(1500);
  for (const { offset, end, pieces: streams } of runs) {
    expect(end - offset).toBeLessThanOrEqual(2 * MIB);
    let wanted = 0;
    for (const { segment } of streams) {
      expect(segment.host ?? 0).toBeGreaterThanOrEqual(offset);
      expect((segment.host ?? 0) + (segment.stored ?? 0)).toBeLessThanOrEqual(end);
      wanted += segment.stored ?? 0;
    }
    expect(end - offset - wanted).toBeLessThanOrEqual(streams.length * 16 * KIB);
  }
});

/** Half a cluster of one byte, in a frame that says it holds `size` bytes. */
function frameWithSize(size: bigint): Buffer {
  const frame = Buffer.alloc(18);
  frame.writeUInt32LE(0xfd2f_b528, 0);
  // Eight bytes for the size, and a window of 32 KiB.
  frame[4] = 0xc0;
  frame[5] = 5 << 3;
  frame.writeBigUInt64LE(size, 6);
  // The last block, of a repeated byte.
  frame.writeUIntLE(1 | (1 << 1) | ((32 * KIB) << 3), 14, 3);
  return frame;
}

const unpackers = [
  { by: "WebAssembly", unpackFrame: unpackPortably },
  ...(unpackNatively === undefined ? [] : [{ by: "Node's own libzstd", unpackFrame: unpackNatively }]),
];

describe.each(unpackers)("a cluster in zstd frames, unpacked by $by,", ({ unpackFrame }) => {
  const half = 32 * KIB;
  const frames = [compress("zstd", 1, half), compress("zstd", 2, half)] as const;
  const content = Buffer.concat([compressible(1, half), compressible(2, half)]);
  const unpack = (...parts: readonly Uint8Array[]): Promise<Uint8Array> =>
    unpackFrames(Buffer.concat(parts), 2 * half, unpackFrame);

  test("is read whatever lies behind it", async () => {
    expect(Buffer.compare(await unpack(...frames), content)).toBe(0);
    expect(Buffer.compare(await unpack(...frames, randomBytes(300)), content)).toBe(0);
    expect(Buffer.compare(await unpack(...frames, ...frames), content)).toBe(0);
  });

  test("is refused when it is short, long, cut off or damaged", async () => {
    const [first] = frames;
    await expect(unpack(first)).rejects.toThrow("cut off");
    await expect(unpack(first, compress("zstd", 2, 2 * half))).rejects.toThrow("longer than the cluster");
    await expect(unpack(first, first.subarray(0, -1))).rejects.toThrow("cut off");
    await expect(unpack(Buffer.alloc(100))).rejects.toThrow("cut off");
    const reserved = Buffer.from(first);
    expect(await unpack(frameWithSize(BigInt(half)), first)).toHaveLength(2 * half);
    await expect(unpack(frameWithSize(2n ** 40n), first)).rejects.toThrow("longer than the cluster");
    await expect(unpack(frameWithSize(BigInt(half) + 1n), first)).rejects.toThrow("damaged");
    await expect(unpack(frameWithSize(0n), first)).rejects.toThrow("empty");
    // A bit of the descriptor that no version uses.
    const unknown = Buffer.from(first);
    unknown[4] = (unknown[4] ?? 0) | 8;
    await expect(unpack(unknown, first)).rejects.toThrow("damaged");
    // The block type that means nothing.
    reserved[9] = (reserved[9] ?? 0) | 6;
    await expect(unpack(reserved, first)).rejects.toThrow();
  });
});
