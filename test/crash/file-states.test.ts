import { describe, expect, test } from "vitest";
import { type StateLimits, fileStates } from "../../tools/crash/file-states.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { seededRandom } from "../support/random.ts";

const LIMITS: StateLimits = { all: 4096, tears: 4, samples: 30 };

/** Every state of a file of these sectors, each as a string of its sectors' first bytes. */
async function statesAfter(
  sectors: readonly number[],
  act: (disk: MemoryDisk) => Promise<void>,
  limits = LIMITS,
): Promise<Set<string>> {
  const disk = new MemoryDisk(Buffer.concat(sectors.map((value) => Buffer.alloc(512, value))));
  await act(disk);
  const states = new Set<string>();
  for (const { bytes } of fileStates(disk.unsynced(), seededRandom(1), limits)) {
    const content = new Uint8Array(bytes().length);
    bytes().read(0, content);
    const firsts = Array.from({ length: Math.ceil(content.length / 512) }, (_, at) => content[at * 512]);
    // No sector is ever torn in itself.
    content.forEach((byte, at) => expect(byte).toBe(content[at - (at % 512)]));
    states.add(firsts.join(""));
  }
  return states;
}

const sectors = (count: number, value: number): Uint8Array => new Uint8Array(count * 512).fill(value);

describe("a power cut", () => {
  test("takes nothing that was synced", async () => {
    const states = await statesAfter([1, 1], async (disk) => {
      await disk.write(0, sectors(2, 2));
      await disk.sync();
    });
    expect(states).toEqual(new Set(["22"]));
  });

  test("keeps, loses or tears a pending write at any sector", async () => {
    const states = await statesAfter([1, 1], async (disk) => disk.write(0, sectors(2, 2)));
    expect(states).toEqual(new Set(["11", "12", "21", "22"]));
  });

  test("may keep a later write and lose an earlier one, and the other way round", async () => {
    const states = await statesAfter([1, 1], async (disk) => {
      await disk.write(0, sectors(1, 2));
      await disk.write(512, sectors(1, 3));
    });
    expect(states).toEqual(new Set(["11", "21", "13", "23"]));
  });

  test("shows the latest that was kept where writes overlap", async () => {
    const states = await statesAfter([1], async (disk) => {
      await disk.write(0, sectors(1, 2));
      await disk.write(0, sectors(1, 3));
    });
    expect(states).toEqual(new Set(["1", "2", "3"]));
  });

  test("may keep a length without the data, and no data behind a length that was lost", async () => {
    const states = await statesAfter([1], async (disk) => disk.write(512, sectors(2, 2)));
    expect(states).toEqual(new Set(["1", "100", "102", "120", "122"]));
  });

  test("keeps a beginning of what happened to the length", async () => {
    const states = await statesAfter([1, 1], async (disk) => {
      await disk.truncate(512);
      await disk.truncate(3 * 512);
    });
    expect(states).toEqual(new Set(["11", "1", "100"]));
  });

  test("may lose a punched hole or any part of it", async () => {
    const states = await statesAfter([1, 1], async (disk) => disk.discard(0, 1024));
    expect(states).toEqual(new Set(["11", "01", "10", "00"]));
  });

  test("of many changes leaves every beginning, each one alone and each one missing", async () => {
    const states = await statesAfter(
      Array.from({ length: 9 }, () => 1),
      async (disk) => {
        for (let at = 0; at < 9; at += 1) await disk.write(at * 512, sectors(1, 2));
      },
      { all: 8, tears: 2, samples: 5 },
    );
    for (let at = 0; at <= 9; at += 1) {
      expect(states).toContain("2".repeat(at) + "1".repeat(9 - at));
      if (at === 9) continue;
      expect(states).toContain("1".repeat(at) + "2" + "1".repeat(8 - at));
      expect(states).toContain("2".repeat(at) + "1" + "2".repeat(8 - at));
    }
    expect(states.size).toBeGreaterThan(25);
  });
});
