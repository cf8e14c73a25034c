/** Clones and received copies that a power cut, or a kill, interrupts: under its name a file is whole or not there, and the next call leaves nothing of the first. */
import { link, mkdir, readFile, readdir, rename, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { Readable } from "node:stream";
import { beforeAll, expect, test } from "vitest";
import { type ByteRange, cloneImage, encodeStream, isQcowalError, receiveStream } from "../../src/index.ts";
import type { Event } from "../../tools/crash/real/change.ts";
import { record } from "../../tools/crash/real/record.ts";
import { type CrashState, crashStates, finalTree } from "../../tools/crash/real/states.ts";
import { difference, readTree, writeTree } from "../../tools/crash/real/tree.ts";
import { type ImageSpec, makeImage } from "../../tools/image-maker/index.ts";
import { BytesGuest, all } from "../export/lab.ts";
import { Receiver, States } from "../export/stream-lab.ts";
import { requireStrace } from "../kill/lab/strace.ts";
import { cli, requireBuiltCommand } from "../support/command.ts";
import { checkImage, describeCheck, readRoot } from "../support/naive-qcow2.ts";
import { tempDir } from "../support/qemu.ts";
import { seededRandom } from "../support/random.ts";

const SEED = Number(process.env["QCOWAL_SEED"] ?? 20_261_129);
/** Of each run, and those of its decision besides. */
const STATES = Number(process.env["QCOWAL_REAL_STATES"] ?? 12);
const NEAR = 4;
const LIMITS = STATES > 100 ? {} : { samples: 2, exhaustive: 4 };
const MINUTES = 60_000;

beforeAll(async () => {
  await requireStrace();
  requireBuiltCommand();
});

const SPEC: ImageSpec = {
  version: 3,
  clusterBits: 12,
  virtualSize: 64 << 12,
  snapshots: [
    { name: "one", changes: [{ at: 0, count: 8, kind: "data", seed: 1 }] },
    { name: "two", changes: [{ at: 4, count: 8, kind: "data", seed: 2 }] },
  ],
  active: { changes: [{ at: 7, count: 9, kind: "data", seed: 3 }] },
};

interface Case {
  readonly name: string;
  /** Makes the directory as it is before. */
  readonly make: (dir: string) => Promise<void>;
  readonly command: (dir: string) => string[];
  /** Fails when what the cut has left is not allowed. Returns whether the new file is there. */
  readonly judge: (dir: string) => Promise<boolean>;
  /** The same again. */
  readonly again: (dir: string) => Promise<unknown>;
}

const ifThere = (path: string): Promise<Buffer | undefined> => readFile(path).catch(() => undefined);

function cloning(snapshot: "two" | undefined): Case {
  const source = Buffer.from(makeImage(SPEC));
  const content = Buffer.from(readRoot(source, snapshot === undefined ? "active" : 1));
  return {
    name: snapshot === undefined ? "a clone of the disk" : "a clone of a snapshot",
    make: (dir) => writeFile(join(dir, "a.qcow2"), source),
    command: (dir) =>
      cli(
        "clone",
        join(dir, snapshot === undefined ? "a.qcow2" : `a.qcow2@${snapshot}`),
        join(dir, "b.qcow2"),
      ),
    async judge(dir) {
      expect((await readFile(join(dir, "a.qcow2"))).equals(source)).toBe(true);
      const made = await ifThere(join(dir, "b.qcow2"));
      if (made === undefined) return false;
      expect(describeCheck(checkImage(made))).toBe("clean");
      expect(Buffer.compare(readRoot(made, "active"), content)).toBe(0);
      return true;
    },
    again: (dir) =>
      cloneImage(join(dir, "a.qcow2"), join(dir, "b.qcow2"), snapshot === undefined ? {} : { snapshot }),
  };
}

/** Few sectors, so that the states of a run are few. */
const DISK_BYTES = 16 * 1024;
const sideOf = (id: number) => ({ snapshot: { id: String(id), name: `day ${id}` }, size: DISK_BYTES });

async function receiving(from: number | undefined, to: number): Promise<Case> {
  const [before, after] = [from, to].map((value) =>
    value === undefined ? undefined : Buffer.alloc(DISK_BYTES, value),
  ) as [Buffer | undefined, Buffer];
  const names = { image: "/vms/web.qcow2", from: from === undefined ? null : sideOf(from), to: sideOf(to) };
  const disk = new BytesGuest(after);
  const whole = Readable.from([{ offset: 0, length: DISK_BYTES }]) as AsyncIterable<ByteRange>;
  const content =
    before === undefined ? { to: disk } : { to: disk, from: new BytesGuest(before), changed: whole };
  const stream = Buffer.concat(await all(encodeStream(names, content)));
  return {
    name: from === undefined ? "a copy that is received" : "a copy that is brought forward",
    async make(dir) {
      await writeFile(join(dir, "stream"), stream);
      if (before !== undefined) await writeFile(join(dir, "web.raw"), before);
    },
    command: (dir) => cli("receive", join(dir, "web.raw"), join(dir, "stream")),
    async judge(dir) {
      const made = await ifThere(join(dir, "web.raw"));
      if (made === undefined) return false;
      if (made.equals(after)) return true;
      // In between only what is marked may be.
      if (before === undefined || !made.equals(before)) {
        expect(before).toBeDefined();
        expect(await readdir(dir)).toContain(".web.raw.qcowal-receive");
      }
      return false;
    },
    again: (dir) => receiveStream(join(dir, "web.raw"), join(dir, "stream")),
  };
}

test.each([cloning("two"), cloning(undefined), await receiving(undefined, 4), await receiving(3, 4)])(
  "$name is whole or not there, wherever it is cut, and can be made again",
  async ({ make, command, judge, again }) => {
    const root = join(await tempDir(), "files");
    await mkdir(root);
    await make(root);
    const start = readTree(root);
    const events = await record(command(root), root, join(root, "..", "strace.log"));
    const whole = readTree(root);
    // Otherwise the recording lacks something, and the states with it.
    expect(difference(finalTree(root, start, events), whole)).toBeUndefined();
    expect(await judge(root)).toBe(true);
    const names = [...whole.keys()].map((path) => basename(path)).toSorted();

    const counts = { states: 0, there: 0 };
    for (const state of chosen(crashStates(root, start, events, seededRandom(SEED), LIMITS), events)) {
      counts.states += 1;
      if (await survives(root, state, names, { judge, again })) counts.there += 1;
    }
    console.log(`seed ${SEED}: ${counts.states} states, in ${counts.there} of them it is there`);
    expect(counts.there).toBeGreaterThan(0);
    expect(counts.states - counts.there).toBeGreaterThan(5);
  },
  20 * MINUTES,
);

/** All around the moment when the file gets its name, or is finished, and some of the work besides. */
function chosen(states: readonly CrashState[], events: readonly Event[]): CrashState[] {
  const every = Math.ceil(states.length / STATES);
  const named = events.findIndex(({ kind }) => kind === "link");
  const decided = named < 0 ? events.length : named;
  return states.filter(({ position }, index) => Math.abs(position - decided) <= NEAR || index % every === 0);
}

/** Returns whether the new file was there. */
async function survives(
  root: string,
  { position, fates, tree }: CrashState,
  names: readonly string[],
  { judge, again }: Pick<Case, "judge" | "again">,
): Promise<boolean> {
  try {
    writeTree(root, tree());
    const isThere = await judge(root);
    try {
      await again(root);
    } catch (error) {
      if (!isThere || !isQcowalError(error, "IMAGE_EXISTS")) throw error;
    }
    expect(await judge(root)).toBe(true);
    expect((await readdir(root)).toSorted()).toEqual(names);
    return isThere;
  } catch (error) {
    throw new Error(`after ${position} events, with ${fates}`, { cause: error });
  }
}

test("what a killed call has left never leads into a file that has another name by now", async () => {
  const states = new States();
  const receiver = await Receiver.at();
  const first = await receiver.save(await states.stream(undefined, 4), "first");
  await receiveStream(receiver.target, first);
  // As it is between the two steps of giving the file its name.
  await link(receiver.target, join(receiver.dir, ".web.raw.qcowal-new"));
  const kept = join(receiver.dir, "kept.raw");
  await rename(receiver.target, kept);
  await receiveStream(receiver.target, await receiver.save(await states.stream(undefined, 1), "second"));
  expect((await readFile(kept)).equals(states.content(4))).toBe(true);
  expect((await receiver.bytes()).equals(states.content(1))).toBe(true);
  expect(await receiver.leftovers()).toEqual([]);
});
