import { setImmediate as turn } from "node:timers/promises";
import { expect, test } from "vitest";
import type { Disk } from "../../src/disk/index.ts";
import { applyIntents } from "../../src/engine/apply-intents.ts";
import { type Intent, fill } from "../../src/intent/index.ts";
import { MemoryDisk } from "../support/memory-disk.ts";

const BLOCK = 4096;

/** A disk that answers later, as a real one does. */
function slow(
  disk: MemoryDisk,
  onWrite: (offset: number) => void = () => undefined,
  onRead: (offset: number) => void = () => undefined,
): Disk {
  const later: Pick<Disk, "read" | "write"> = {
    read: async (offset, target) => {
      onRead(offset);
      const length = await disk.read(offset, target);
      await turn();
      return length;
    },
    write: async (offset, data) => {
      onWrite(offset);
      await turn();
      await disk.write(offset, data);
    },
  };
  return new Proxy<Disk>(disk, {
    get: (target, name) => Reflect.get(name in later ? later : target, name) as unknown,
  });
}

test("intents of one block take turns, so that none undoes what another did to the same sector", async () => {
  const disk = new MemoryDisk(new Uint8Array(2 * BLOCK));
  const intents = Array.from({ length: 20 }, (_, entry): Intent => ({
    kind: "refcount",
    block: BLOCK,
    order: 4,
    runs: [[entry, 1, 0, entry + 1]],
  }));
  await applyIntents(slow(disk), intents);
  const view = new DataView(disk.bytes().buffer, disk.bytes().byteOffset + BLOCK);
  expect(intents.map((_, entry) => view.getUint16(entry * 2))).toEqual(intents.map((_, entry) => entry + 1));
});

test("after a failure none is begun, and none is under way when it is thrown", async () => {
  const disk = new MemoryDisk(new Uint8Array(BLOCK));
  const intents = Array.from({ length: 100 }, (_, index) => fill(index * 512, new Uint8Array(512)));
  let begun = 0;
  const failing = slow(disk, () => {
    begun += 1;
    if (begun === 3) throw new Error("no more");
  });
  await expect(applyIntents(failing, intents)).rejects.toThrow("no more");
  const atFailure = disk.events;
  expect(begun).toBeLessThan(20);
  await turn();
  await turn();
  expect(disk.events).toBe(atFailure);
});

test("the first sector that cannot be read is thrown when nothing behind it is being written any more", async () => {
  const disk = new MemoryDisk(new Uint8Array(BLOCK));
  const behind = { offset: 600, before: new Uint8Array(8), after: new Uint8Array(8).fill(1) };
  const unreadable = slow(disk, undefined, () => {
    throw new Error("no sector");
  });
  await expect(applyIntents(unreadable, [{ kind: "header", patches: [behind] }])).rejects.toThrow(
    "no sector",
  );
  const atFailure = disk.events;
  await turn();
  await turn();
  expect(disk.events).toBe(atFailure);
});
