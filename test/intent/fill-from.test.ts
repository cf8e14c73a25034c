import { expect, test } from "vitest";
import {
  applyIntent,
  fillFrom,
  inspectIntent,
  unpackIntents,
  PackedIntents,
} from "../../src/intent/index.ts";
import { MemoryDisk } from "../support/memory-disk.ts";

const read = (byte: number) => (target: Uint8Array) => {
  target.fill(byte);
  return Promise.resolve();
};

test("contents that are read when they are written are those that were planned, and the journal has their digest alone", async () => {
  const disk = new MemoryDisk(new Uint8Array(8192));
  const intent = await fillFrom(1024, new Uint8Array(2048), read(7));
  await applyIntent(disk, intent);
  expect(
    disk
      .bytes()
      .subarray(1024, 3072)
      .every((byte) => byte === 7),
  ).toBe(true);
  expect(
    disk
      .bytes()
      .subarray(3072)
      .every((byte) => byte === 0),
  ).toBe(true);
  const [piece = new Uint8Array()] = PackedIntents.of([intent]).pieces(1000);
  expect(piece.length).toBeLessThan(100);
  const [logged] = [...unpackIntents(piece)];
  expect(logged).toMatchObject({ kind: "fill", offset: 1024, length: 2048 });
  if (logged !== undefined) expect(await inspectIntent(disk, logged)).toEqual({ state: "after" });
});

test("contents that became others since they were planned are not written", async () => {
  const disk = new MemoryDisk(new Uint8Array(8192));
  let byte = 7;
  const intent = await fillFrom(1024, new Uint8Array(2048), (target) => read(byte)(target));
  byte = 8;
  await expect(applyIntent(disk, intent)).rejects.toMatchObject({ code: "FOREIGN_WRITE" });
  expect(disk.bytes().every((found) => found === 0)).toBe(true);
});
