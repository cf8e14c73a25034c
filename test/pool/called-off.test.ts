/** Whatever may take long on an image or a journal ends when its caller's signal is raised, at whichever moment. */
import { cpSync, readdirSync } from "node:fs";
import { cp, readFile, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import {
  checkImage,
  cloneImage,
  listSnapshots,
  openHistory,
  openPool,
  planPrune,
  repairWithoutJournal,
  serveImages,
} from "../../src/index.ts";
import { openFileDisk } from "../../src/disk/index.ts";
import { all } from "../support/all.ts";
import { must } from "../support/programs.ts";
import { requireQemu } from "../support/qemu.ts";
import { SPEC, expectClean, poolIn, scratch } from "./lab.ts";

/** A signal that is raised when it has been looked at so many times: nothing has to be timed. */
class LookedAt extends EventTarget {
  readonly #allowed: number;
  readonly reason = "enough";
  looks = 0;
  readonly listening = new Set<unknown>();

  constructor(allowed: number) {
    super();
    this.#allowed = allowed;
  }

  get aborted(): boolean {
    this.looks += 1;
    return this.looks > this.#allowed;
  }

  override addEventListener(...how: Parameters<EventTarget["addEventListener"]>): void {
    this.listening.add(how[1]);
    super.addEventListener(...how);
  }

  override removeEventListener(...how: Parameters<EventTarget["removeEventListener"]>): void {
    this.listening.delete(how[1]);
    super.removeEventListener(...how);
  }
}

const signalOf = (looked: LookedAt): AbortSignal => looked as unknown as AbortSignal;

// Also so that what starts programs is there before descriptors are counted.
beforeAll(requireQemu);

const descriptors = (): number => readdirSync("/proc/self/fd").length;

/** Moments that are tried of a call that looks more often. */
const MOMENTS = 12;

/** Calls it off at moments of its course; `check` looks at what that left. Returns how often a whole call looks. */
async function calledOffAnywhere(
  act: (signal: AbortSignal) => Promise<unknown>,
  check: () => Promise<unknown> = () => Promise.resolve(),
): Promise<number> {
  const whole = new LookedAt(Infinity);
  await act(signalOf(whole));
  const step = Math.max(1, Math.floor(whole.looks / MOMENTS));
  const before = descriptors();
  for (let allowed = 0; allowed < whole.looks; allowed += step) {
    const looked = new LookedAt(allowed);
    await expect(act(signalOf(looked)), `look ${allowed + 1}`).rejects.toMatchObject({
      code: "ABORTED",
      cause: "enough",
    });
    expect(looked.listening.size).toBe(0);
    await expect.poll(descriptors).toBe(before);
    await check();
  }
  return whole.looks;
}

/** Leaves the image in the middle of a delete: with the files as they were then, as a kill does. */
async function interrupted(dir: string, image: string): Promise<void> {
  const aside = await scratch();
  const pool = await openPool(join(dir, ".qcowal"));
  await pool.delete(image, "one", {
    onProgress: ({ step }) => {
      if (step === "lower") cpSync(dir, aside, { recursive: true });
    },
  });
  await pool.close();
  await rm(join(dir, ".qcowal"), { recursive: true });
  await cp(aside, dir, { recursive: true, force: true });
}

describe("called off at any moment, and nothing stays open or changes:", () => {
  const unchanged = async (dir: string): Promise<() => Promise<void>> => {
    const [bytes, names] = [await readFile(join(dir, "a.qcow2")), await readdir(dir)];
    return async () => {
      expect(Buffer.compare(await readFile(join(dir, "a.qcow2")), bytes)).toBe(0);
      expect(await readdir(dir)).toEqual(names);
    };
  };

  test.each<[string, number, (image: string, signal: AbortSignal) => Promise<unknown>]>([
    ["listSnapshots", 3, (image, signal) => listSnapshots(image, { signal })],
    ["checkImage", 3, (image, signal) => checkImage(image, { signal, usage: true })],
    [
      "planPrune",
      6,
      (image, signal) =>
        planPrune(`${image}.none`, [image], { keepLast: 1, maxSpace: 1, all: true }, { signal }),
    ],
    [
      "serveImages",
      8,
      async (image, signal) => {
        const server = await serveImages([image], { listen: { socket: `${image}.sock` }, signal });
        await server.close();
      },
    ],
  ])("%s", async (_, looks, act) => {
    const dir = await scratch("a.qcow2");
    const check = await unchanged(dir);
    const act1 = (signal: AbortSignal): Promise<unknown> => act(join(dir, "a.qcow2"), signal);
    expect(await calledOffAnywhere(act1, check)).toBeGreaterThanOrEqual(looks);
  });

  test("cloneImage, while the copy is brought to the snapshot too", async () => {
    const dir = await scratch("a.qcow2");
    let count = 0;
    const check = await unchanged(dir);
    const clone = async (signal: AbortSignal): Promise<void> => {
      count += 1;
      const elsewhere = count === 1 ? await scratch() : dir;
      await cloneImage(join(dir, "a.qcow2"), join(elsewhere, "b.qcow2"), { snapshot: "one", signal });
    };
    // Before it is copied, while it is, at each phase, and before it gets its name.
    expect(await calledOffAnywhere(clone, check)).toBeGreaterThanOrEqual(8);
  });

  test("the history, though nothing in it is wanted", async () => {
    const dir = await scratch("a.qcow2");
    const pool = await poolIn(dir);
    for (const name of ["three", "four", "five"]) await pool.create(join(dir, "a.qcow2"), name);
    const query = { grep: /never/ };
    await calledOffAnywhere((signal) => all(pool.history(undefined, { ...query, signal })));
    await using record = await openHistory(join(dir, ".qcowal"));
    const looks = await calledOffAnywhere((signal) => all(record.entries(undefined, { ...query, signal })));
    expect(looks).toBeGreaterThanOrEqual(3);
  });

  test("pool.list, and a pool's prune before it is decided", async () => {
    const dir = await scratch("a.qcow2");
    const image = join(dir, "a.qcow2");
    const pool = await poolIn(dir);
    const check = await unchanged(dir);
    await calledOffAnywhere((signal) => pool.list(image, { signal }), check);
    const policy = { keepLast: 1, maxSpace: 1, all: true };
    await calledOffAnywhere((signal) => pool.prune([image], policy, { signal, dryRun: true }), check);
    expect(await all(pool.history(image))).toEqual([]);
  });

  test("repairWithoutJournal, until it writes", async () => {
    const dir = await scratch("a.qcow2");
    const image = join(dir, "a.qcow2");
    await interrupted(dir, image);
    await rm(join(dir, ".qcowal"), { recursive: true });
    const check = await unchanged(dir);
    const scan = (signal: AbortSignal): Promise<unknown> =>
      repairWithoutJournal(image, { signal, dryRun: true });
    const looks = await calledOffAnywhere(scan, check);
    expect(looks).toBeGreaterThanOrEqual(3);
    // For real it looks as often: when the scan is done nothing calls it off any more.
    const last = new LookedAt(looks - 1);
    await expect(repairWithoutJournal(image, { signal: signalOf(last) })).rejects.toMatchObject({
      code: "ABORTED",
    });
    await check();
    await repairWithoutJournal(image, { signal: signalOf(new LookedAt(looks)) });
    await expectClean(image);
  });
});

test("a recovery that is called off leaves the rest pending, and says how much is done", async () => {
  const dir = await scratch("a.qcow2", "b.qcow2");
  const [a, b] = [join(dir, "a.qcow2"), join(dir, "b.qcow2")];
  for (const image of [a, b]) await interrupted(dir, image);
  const pool = await poolIn(dir);
  const early = pool.recover(undefined, { signal: AbortSignal.abort("too late") });
  await expect(early).rejects.toMatchObject({
    code: "ABORTED",
    message: "The recovery was called off. Nothing was changed.",
  });
  await expect(pool.list(a)).rejects.toMatchObject({ code: "NEEDS_RECOVERY" });
  await expect(pool.recover(undefined, { signal: signalOf(new LookedAt(1)) })).rejects.toMatchObject({
    code: "ABORTED",
    message: expect.stringContaining("1 transaction(s) were recovered") as string,
  });
  await expectClean(a);
  await expect(pool.list(b)).rejects.toMatchObject({ code: "NEEDS_RECOVERY" });
  expect((await pool.recover()).recovered).toHaveLength(1);
  await expectClean(b);
});

test("a compaction that is called off has dropped nothing of a batch that it had begun", async () => {
  const dir = await scratch("a.qcow2");
  const pool = await poolIn(dir);
  for (const name of ["three", "four"]) await pool.create(join(dir, "a.qcow2"), name);
  const info = await pool.journalInfo();
  const dry = (signal: AbortSignal): Promise<unknown> => pool.compact({ signal, dryRun: true });
  const looks = await calledOffAnywhere(dry);
  expect(looks).toBeGreaterThanOrEqual(4);
  const { intents } = info;
  await expect(pool.compact({ signal: signalOf(new LookedAt(looks - 1)) })).rejects.toMatchObject({
    code: "ABORTED",
    message: "The compaction was called off. Nothing was changed.",
  });
  expect(await pool.journalInfo()).toMatchObject({ intents, compacted: { compactions: 0 } });
  expect(await pool.compact()).toMatchObject({ transactions: 2 });
});

describe("a server", () => {
  test("that serves is closed by the signal as by close(), which waits for that", async () => {
    const dir = await scratch("a.qcow2");
    const before = descriptors();
    const controller = new AbortController();
    const socket = join(dir, "s");
    const { signal } = controller;
    const server = await serveImages([join(dir, "a.qcow2")], { listen: { socket }, signal });
    const client = await must("nbdinfo", ["--json", server.uri("a@one")]);
    expect(JSON.parse(client)).toMatchObject({ exports: [{ "export-size": SPEC.virtualSize }] });
    await expect(openFileDisk(join(dir, "a.qcow2"), "write")).rejects.toMatchObject({ code: "IMAGE_IN_USE" });
    controller.abort();
    await server.close();
    expect(await readdir(dir)).toEqual(["a.qcow2"]);
    await expect.poll(descriptors).toBe(before);
    await (await openFileDisk(join(dir, "a.qcow2"), "write")).close();
  });

  test("takes its listener from the signal when it is closed", async () => {
    const dir = await scratch("a.qcow2");
    const looked = new LookedAt(Infinity);
    const listen = { socket: join(dir, "s") };
    const server = await serveImages([join(dir, "a.qcow2")], { listen, signal: signalOf(looked) });
    expect(looked.listening.size).toBeGreaterThan(0);
    await server.close();
    expect(looked.listening.size).toBe(0);
  });
});
