import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { openJournalOn } from "../../journal/index.ts";
import { isQcowalError } from "../../src/errors/index.ts";
import { SimulatedStore } from "../support/simulated-store.ts";
import { type Intent, PHASES, inspectIntent } from "../../src/intent/index.ts";
import type { Operation } from "../../src/plan/index.ts";
import { makeImage, randomSpec } from "../../tools/image-maker/index.ts";
import { Machine } from "../support/machine.ts";
import { type World, attempt, attemptRecovery, newWorld, operate, recoverWorld } from "../support/world.ts";
import { planOn } from "../support/apply-plan.ts";
import { contains, coveredRanges } from "../support/covered-bytes.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { checkImage, describeCheck, inspectImage } from "../support/naive-qcow2.ts";
import { randomOperation } from "../support/random-operation.ts";
import { type Random, seededRandom } from "../support/random.ts";

interface Killed {
  readonly world: World;
  /** A fenced image of it. */
  readonly path: string;
  readonly isCommitted: boolean;
  /** Under which a change has to be seen. */
  readonly intents: readonly Intent[];
}

const bytesOf = (world: World, path: string): Uint8Array =>
  world.images.get(path)?.bytes() ?? new Uint8Array();

const isFenced = (bytes: Uint8Array): boolean => inspectImage(bytes, { ignoreFence: true }).header.fenced;

async function stateOf(world: World): Promise<string | undefined> {
  const store = new SimulatedStore(world.journal);
  const journal = await openJournalOn(store, { dir: "/memory/journal", create: false });
  return journal?.pending()[0]?.state;
}

/** One or two random images, killed while they are fenced; undefined when the operation is refused. */
async function killedBehindFence(random: Random): Promise<Killed | undefined> {
  const images: Record<string, Uint8Array> = {};
  const operations: Operation[] = [];
  for (let index = random.chance(0.25) ? 1 : 0; index >= 0; index -= 1) {
    const path = `/memory/${index}.qcow2`;
    const bytes = makeImage(randomSpec(random, { maxClusterBits: 12 }));
    images[path] = bytes;
    operations.push(randomOperation(random, path, inspectImage(bytes).snapshots, "new"));
  }
  const start = newWorld(images);
  const probe = new Machine();
  let fencing = 0;
  const { failure } = await attempt(start, operations, probe, {
    onProgress: ({ step }) => {
      if (step === "fence") fencing = probe.events;
    },
  });
  if (isQcowalError(failure)) return undefined;
  const path = random.pick(Object.keys(images));
  for (let tries = 0; tries < 20; tries += 1) {
    const { world } = await operate(start, operations, fencing + 1 + random.int(probe.events - fencing));
    const state = await stateOf(world);
    if (!isFenced(bytesOf(world, path)) || state === undefined) continue;
    const own = operations.filter(({ image }) => image === path);
    const { phases } = await planOn(new MemoryDisk(images[path], { path }), ...own);
    const isCommitted = state === "committed";
    const judged = PHASES.filter((phase) => isCommitted || phase !== "reserve");
    return { world, path, isCommitted, intents: judged.flatMap((phase) => [...phases[phase]]) };
  }
  return undefined;
}

async function changed(world: World, path: string, at: number, flip: number): Promise<World> {
  const images = new Map([...world.images].map(([name, file]) => [name, file.reopen()]));
  const byte = new Uint8Array(1);
  await images.get(path)?.read(at, byte);
  await images.get(path)?.write(at, Uint8Array.of((byte[0] ?? 0) ^ flip));
  return { ...world, images };
}

/** As the journal has them: long contents by digest only. */
const asLogged = (intent: Intent): Intent =>
  intent.kind === "fill" && intent.length > 4096 ? { ...intent, bytes: undefined } : intent;

/** That the state of one intent is exact is shown where intents are tested; here it is what recovery has to act on. */
async function isForeign({ intents, path }: Killed, world: World): Promise<boolean> {
  const disk = new MemoryDisk(bytesOf(world, path));
  for (const intent of intents) {
    if ((await inspectIntent(disk, asLogged(intent))).state === "foreign") return true;
  }
  return false;
}

async function refusalOf(world: World): Promise<unknown> {
  const { failure, machine } = await attemptRecovery(world, new Machine());
  // Neither image nor record: every image is judged before the first write to any.
  if (failure !== undefined) expect(machine.events).toBe(0);
  return failure;
}

async function expectRecovered(world: World): Promise<void> {
  const recovered = await recoverWorld(world);
  for (const path of world.images.keys()) {
    const bytes = bytesOf(recovered.world, path);
    expect(isFenced(bytes)).toBe(false);
    expect(describeCheck(checkImage(bytes))).toBe("clean");
  }
}

describe("an image that was killed behind the fence, one byte of which somebody changed", () => {
  test("under an intent: recovery names the range, writes nothing, and finishes once it is put back", async () => {
    const seen = { foreign: 0, unseen: 0, kinds: new Set<string>() };
    await fc.assert(
      fc.asyncProperty(fc.nat(2 ** 31 - 1), fc.integer({ min: 1, max: 255 }), async (seed, flip) => {
        const random = seededRandom(seed);
        const killed = await killedBehindFence(random);
        if (killed === undefined) return;
        const covered = killed.intents.flatMap(coveredRanges);
        if (covered.length === 0) return;
        const { offset, length } = random.pick(covered);
        const at = offset + random.int(length);
        const world = await changed(killed.world, killed.path, at, flip);
        if (await isForeign(killed, world)) {
          const failure = await refusalOf(world);
          expect(failure).toMatchObject({
            code: "FOREIGN_WRITE",
            details: { path: killed.path, journal: "/memory/journal", transaction: expect.any(Number) },
          });
          if (!isQcowalError(failure)) return;
          const { details, message } = failure;
          const range = { offset: Number(details["offset"]), length: Number(details["length"]) };
          expect(contains(range, at), `${at} in ${message}`).toBe(true);
          expect(PHASES).toContain(details["phase"]);
          for (const part of [
            killed.path,
            "/memory/journal",
            `transaction ${String(details["transaction"])}`,
          ]) {
            expect(message).toContain(part);
          }
          expect(message).toContain(`0x${range.offset.toString(16)}`);
          // A second attempt comes to the same.
          expect(await refusalOf(world)).toMatchObject({ message });
          seen.kinds.add(String(details["intent"]));
          seen.foreign += 1;
        } else if (killed.isCommitted) {
          // Another state of the same intent, a table that is written again, a flag or a narrow refcount beside those
          // that change: nothing tells it from what the transaction found, and nothing stops for it.
          expect(await refusalOf(world)).toBeUndefined();
          seen.unseen += 1;
        }
        await expectRecovered(await changed(world, killed.path, at, flip));
      }),
      { numRuns: 200 },
    );
    console.log(`${seen.foreign} foreign bytes, ${seen.unseen} that no intent can tell`);
    expect(seen.foreign).toBeGreaterThan(50);
    for (const kind of ["copied", "header", "refcount"]) expect(seen.kinds).toContain(kind);
  });
});
