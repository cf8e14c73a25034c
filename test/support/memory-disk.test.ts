import { describe, expect, test } from "vitest";
import { describeDiskContract } from "./disk-contract.ts";
import { Killed, MemoryDisk } from "./memory-disk.ts";

describeDiskContract("the memory disk", (initial) => Promise.resolve(new MemoryDisk(initial)));
describeDiskContract("the memory disk without holes", (initial) =>
  Promise.resolve(new MemoryDisk(initial, { punchesHoles: false })),
);

const byte = (value: number): Uint8Array => Uint8Array.of(value);

describe("a memory disk", () => {
  test("logs and counts what changes it, and not what reads it", async () => {
    const disk = new MemoryDisk(new Uint8Array(8), { recordData: true });
    await disk.write(2, byte(5));
    await disk.read(0, new Uint8Array(8));
    await disk.sync();
    await disk.truncate(4);
    await disk.discard(0, 2);
    expect(disk.events).toBe(4);
    expect(disk.log).toEqual([
      { type: "write", offset: 2, length: 1, data: byte(5) },
      { type: "sync" },
      { type: "truncate", size: 4 },
      { type: "discard", offset: 0, length: 2 },
    ]);
  });

  test("keeps what was written before a kill and nothing of the event that dies", async () => {
    const disk = new MemoryDisk(new Uint8Array(4), { stopAt: 2 });
    await disk.write(0, byte(1));
    await expect(disk.write(1, byte(2))).rejects.toThrow(Killed);
    await expect(disk.read(0, new Uint8Array(1))).rejects.toThrow(Killed);
    await expect(disk.sync()).rejects.toThrow(Killed);
    await disk.close();
    expect(disk.bytes()).toEqual(Uint8Array.of(1, 0, 0, 0));
  });

  test("can cut the dying write short", async () => {
    const disk = new MemoryDisk(new Uint8Array(4), { stopAt: 1, bytesKeptAtStop: 2 });
    await expect(disk.write(0, Uint8Array.of(1, 2, 3))).rejects.toThrow(Killed);
    expect(disk.bytes()).toEqual(Uint8Array.of(1, 2, 0, 0));
  });

  test("gives the next process the same bytes, alive and independent", async () => {
    const disk = new MemoryDisk(new Uint8Array(2), { stopAt: 2 });
    await disk.write(0, byte(1));
    await expect(disk.sync()).rejects.toThrow(Killed);
    const next = disk.reopen();
    await next.write(1, byte(2));
    expect(next.bytes()).toEqual(Uint8Array.of(1, 2));
    expect(disk.bytes()).toEqual(Uint8Array.of(1, 0));
  });

  test("refuses everything but reading and closing after a failed sync", async () => {
    const disk = new MemoryDisk(byte(7), { failAt: { event: 1, code: "EIO" } });
    await expect(disk.sync()).rejects.toMatchObject({ code: "IO_FAILED" });
    await expect(disk.sync()).rejects.toMatchObject({ code: "IO_FAILED_EARLIER" });
    await expect(disk.write(0, byte(1))).rejects.toMatchObject({ code: "IO_FAILED_EARLIER" });
    await expect(disk.truncate(0)).rejects.toMatchObject({ code: "IO_FAILED_EARLIER" });
    const target = new Uint8Array(1);
    expect(await disk.read(0, target)).toBe(1);
    expect(await disk.size()).toBe(1);
    expect(target).toEqual(byte(7));
  });

  test("takes no space left under a sync for final, because written data may be lost", async () => {
    const disk = new MemoryDisk(byte(7), { failAt: { event: 1, code: "ENOSPC" } });
    await expect(disk.sync()).rejects.toMatchObject({ code: "NO_SPACE" });
    await expect(disk.write(0, byte(1))).rejects.toMatchObject({ code: "IO_FAILED_EARLIER" });
  });

  test("keeps a failed discard to itself", async () => {
    const disk = new MemoryDisk(byte(7), { failAt: { event: 1, code: "EIO" } });
    await disk.discard(0, 1);
    await disk.sync();
    expect(disk.bytes()).toEqual(byte(7));
  });

  test("lets space be given back after a write found none", async () => {
    const disk = new MemoryDisk(byte(7), { failAt: { event: 1, code: "ENOSPC", bytesKept: 1 } });
    await expect(disk.write(1, Uint8Array.of(1, 2))).rejects.toMatchObject({ code: "NO_SPACE" });
    expect(await disk.size()).toBe(2);
    await disk.truncate(1);
    await disk.sync();
    expect(disk.bytes()).toEqual(byte(7));
  });

  test("can fail a read without harm to the next", async () => {
    const disk = new MemoryDisk(byte(7), { failReadAt: 1 });
    await expect(disk.read(0, new Uint8Array(1))).rejects.toMatchObject({ code: "IO_FAILED" });
    await expect(disk.read(0, new Uint8Array(1))).resolves.toBe(1);
  });
});
