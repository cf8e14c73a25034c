import { isAbsolute } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import type { Disk } from "../../src/disk/disk.ts";

/** Opens a disk for writing whose file holds `initial`. */
export type MakeDisk = (initial: Uint8Array) => Promise<Disk>;

const pattern = (length: number, first = 1): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => ((first + i) % 255) + 1);

/** What every adapter of the Disk port promises. */
export function describeDiskContract(name: string, makeDisk: MakeDisk): void {
  describe(`${name} keeps the contract of a disk:`, () => {
    const opened: Disk[] = [];

    const open = async (initial: Uint8Array = new Uint8Array(0)): Promise<Disk> => {
      const disk = await makeDisk(initial);
      opened.push(disk);
      return disk;
    };

    const contents = async (disk: Disk): Promise<Uint8Array> => {
      const bytes = new Uint8Array(await disk.size());
      await disk.read(0, bytes);
      return bytes;
    };

    afterEach(async () => {
      await Promise.all(opened.splice(0).map((disk) => disk.close()));
    });

    test("its path is absolute", async () => {
      const disk = await open();
      expect(isAbsolute(disk.path)).toBe(true);
    });

    test("its size is the length of the file", async () => {
      const disk = await open(pattern(700));
      expect(await disk.size()).toBe(700);
    });

    test("a read fills the target from the offset", async () => {
      const disk = await open(pattern(100));
      const target = new Uint8Array(10);
      expect(await disk.read(20, target)).toBe(10);
      expect(target).toEqual(pattern(100).subarray(20, 30));
    });

    test("a read across the end counts what is inside and zeroes the rest", async () => {
      const disk = await open(pattern(100));
      const target = new Uint8Array(50).fill(0xee);
      expect(await disk.read(90, target)).toBe(10);
      expect(target.subarray(0, 10)).toEqual(pattern(100).subarray(90));
      expect(target.subarray(10)).toEqual(new Uint8Array(40));
    });

    test("a read beyond the end is all zeros", async () => {
      const disk = await open(pattern(100));
      const target = new Uint8Array(50).fill(0xee);
      expect(await disk.read(100_000, target)).toBe(0);
      expect(target).toEqual(new Uint8Array(50));
    });

    test("a read of nothing is allowed anywhere", async () => {
      const disk = await open(pattern(10));
      expect(await disk.read(5, new Uint8Array(0))).toBe(0);
      expect(await disk.read(500, new Uint8Array(0))).toBe(0);
    });

    test("a read changes only the target, not the bytes around it in its buffer", async () => {
      const disk = await open(pattern(100));
      const buffer = new Uint8Array(30).fill(0xee);
      await disk.read(95, buffer.subarray(10, 20));
      expect(buffer.subarray(0, 10)).toEqual(new Uint8Array(10).fill(0xee));
      expect(buffer.subarray(10, 20)).toEqual(Uint8Array.of(...pattern(100).subarray(95), 0, 0, 0, 0, 0));
      expect(buffer.subarray(20)).toEqual(new Uint8Array(10).fill(0xee));
    });

    test("a write replaces exactly its range", async () => {
      const disk = await open(pattern(100));
      await disk.write(40, new Uint8Array(20).fill(0xab));
      const expected = pattern(100);
      expected.fill(0xab, 40, 60);
      expect(await contents(disk)).toEqual(expected);
    });

    test("a write takes its view of the buffer, not the whole buffer", async () => {
      const disk = await open();
      await disk.write(0, pattern(100).subarray(30, 40));
      expect(await contents(disk)).toEqual(pattern(100).subarray(30, 40));
    });

    test("a write across the end grows the file", async () => {
      const disk = await open(pattern(10));
      await disk.write(8, Uint8Array.of(1, 2, 3, 4));
      expect(await disk.size()).toBe(12);
    });

    test("a gap that a write leaves reads as zeros", async () => {
      const disk = await open(pattern(10));
      await disk.write(200_000, Uint8Array.of(7));
      expect(await disk.size()).toBe(200_001);
      const gap = new Uint8Array(199_990).fill(0xee);
      expect(await disk.read(10, gap)).toBe(gap.length);
      expect(gap.every((byte) => byte === 0)).toBe(true);
    });

    test("a write of nothing does not grow the file", async () => {
      const disk = await open(pattern(10));
      await disk.write(500, new Uint8Array(0));
      expect(await disk.size()).toBe(10);
    });

    test("a large write at an odd offset arrives whole", async () => {
      const disk = await open();
      const data = pattern(1_500_000);
      await disk.write(333, data);
      const target = new Uint8Array(data.length);
      await disk.read(333, target);
      expect(Buffer.compare(target, data)).toBe(0);
    });

    test("offsets beyond 4 GiB do not wrap", async () => {
      const disk = await open(pattern(10));
      const far = 5 * 2 ** 30 + 3;
      await disk.write(far, Uint8Array.of(9, 8, 7));
      expect(await disk.size()).toBe(far + 3);
      const target = new Uint8Array(5);
      expect(await disk.read(far - 1, target)).toBe(4);
      expect(target).toEqual(Uint8Array.of(0, 9, 8, 7, 0));
      const start = new Uint8Array(10);
      await disk.read(0, start);
      expect(start).toEqual(pattern(10));
    });

    test("truncating cuts the end off", async () => {
      const disk = await open(pattern(100));
      await disk.truncate(30);
      expect(await contents(disk)).toEqual(pattern(100).subarray(0, 30));
    });

    test("truncating upwards adds zeros, even where bytes were cut off before", async () => {
      const disk = await open(pattern(100));
      await disk.truncate(30);
      await disk.truncate(90);
      const expected = new Uint8Array(90);
      expected.set(pattern(100).subarray(0, 30));
      expect(await contents(disk)).toEqual(expected);
    });

    test("a discard leaves the range zeroed or untouched, and the rest and the length alone", async () => {
      const before = pattern(300_000);
      const disk = await open(before);
      await disk.discard(65_536, 131_072);
      const after = await contents(disk);
      expect(after.length).toBe(before.length);
      const range = Buffer.from(after.subarray(65_536, 196_608));
      const untouched = range.equals(before.subarray(65_536, 196_608));
      expect(untouched || range.every((byte) => byte === 0)).toBe(true);
      expect(Buffer.compare(after.subarray(0, 65_536), before.subarray(0, 65_536))).toBe(0);
      expect(Buffer.compare(after.subarray(196_608), before.subarray(196_608))).toBe(0);
    });

    test("a discard across or beyond the end does not change the length", async () => {
      const disk = await open(pattern(5000));
      await disk.discard(4096, 65_536);
      await disk.discard(1_000_000, 4096);
      expect(await disk.size()).toBe(5000);
    });

    test("a sync changes nothing that can be read", async () => {
      const disk = await open(pattern(100));
      await disk.write(10, Uint8Array.of(1, 2, 3));
      const before = await contents(disk);
      await disk.sync();
      await disk.sync();
      expect(await contents(disk)).toEqual(before);
    });

    test("writes to separate ranges may overlap in time", async () => {
      const disk = await open();
      await Promise.all(
        Array.from({ length: 20 }, (_, i) => disk.write(i * 1000, new Uint8Array(1000).fill(i + 1))),
      );
      const bytes = await contents(disk);
      expect(Array.from({ length: 20 }, (_, i) => bytes[i * 1000 + 999])).toEqual(
        Array.from({ length: 20 }, (_, i) => i + 1),
      );
    });

    test("closing twice is the same as closing once", async () => {
      const disk = await open(pattern(10));
      await disk.close();
      await expect(disk.close()).resolves.toBeUndefined();
    });

    test("a closed disk refuses to read and to write", async () => {
      const disk = await open(pattern(10));
      await disk.close();
      await expect(disk.read(0, new Uint8Array(1))).rejects.toThrow();
      await expect(disk.write(0, Uint8Array.of(1))).rejects.toThrow();
    });
  });
}
