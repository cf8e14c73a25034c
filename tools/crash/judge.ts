/**
 * The judges of a crash stand outside the engine: a checker that shares no code
 * with it, a model that moves digests about like cards, and the record read by
 * itself. What was judged once is not judged again: many crashes lead to the
 * same image, and most recoveries to one of two.
 */
import assert from "node:assert/strict";
import { hash } from "node:crypto";
import type { JournaledOperation, Operation } from "../../src/plan/index.ts";
import { type Visible, expected, visibleIn } from "../../test/support/model.ts";
import { describeCheck, inspectImage, logicalState } from "../../test/support/naive-qcow2.ts";
import { type World, historyOf } from "../../test/support/world.ts";
import { type Condition, assertNotWorse, conditionOf, damageIn } from "./condition.ts";

interface JudgedImage extends Condition {
  readonly digest: string;
  readonly fenced: boolean;
  /** What a user can see, dates and ids included, as one comparable text. */
  readonly logical: string;
  /** The same without what the clock decides. */
  readonly visible: string;
  readonly firstCluster: Buffer;
  readonly behindFirstCluster: string;
  readonly length: number;
}

interface Subject {
  readonly path: string;
  readonly before: JudgedImage;
  readonly after: { readonly visible: string; readonly firstCluster: Buffer };
  /** It is repaired with `harden`: afterwards no snapshot's L1 table says COPIED. */
  readonly hardens: boolean;
}

export type Outcome = "before" | "after" | "both";

const sha = (bytes: Uint8Array): string => hash("sha1", bytes, "base64");

function judged(bytes: Uint8Array, digest: string): JudgedImage {
  const report = inspectImage(bytes, { ignoreFence: true });
  const { clusterSize, fenced } = report.header;
  return {
    digest,
    fenced,
    logical: JSON.stringify(logicalState(report)),
    visible: JSON.stringify(visibleIn(report)),
    ...conditionOf(bytes, report),
    firstCluster: Buffer.from(bytes.subarray(0, clusterSize)),
    behindFirstCluster: sha(bytes.subarray(clusterSize)),
    length: bytes.length,
  };
}

/** A copy of a case's images; the digests of what was judged are worth keeping, the bytes are not. */
const KEPT = 2000;

export interface JudgeOptions {
  /** The images are damaged to begin with, and the operations are repairs: as before is damaged as before. */
  readonly damaged?: boolean | undefined;
  /** Ids of the damaged snapshots that a repair is to give up. */
  readonly givenUp?: readonly string[] | undefined;
  /** What a receive makes of what a user sees: of its operation only the stream's digest is known. */
  readonly received?: ((before: Visible) => Visible) | undefined;
}

export class Judge {
  readonly #options: JudgeOptions;
  readonly #subjects: readonly Subject[];
  readonly #images = new Map<string, JudgedImage>();
  readonly #digests = new WeakMap<Uint8Array, string>();
  /** Recovered worlds that were found to be good, with their outcome. */
  readonly #good = new Map<string, Outcome>();

  /** `after` is what an undisturbed run left. */
  constructor(
    start: World,
    operations: readonly JournaledOperation[],
    after: World,
    options: JudgeOptions = {},
  ) {
    this.#options = options;
    this.#subjects = [...start.images.keys()].map((path): Subject => {
      const file = start.images.get(path);
      assert.ok(file);
      const model: Visible = operations
        .filter(({ image }) => image === path)
        .reduce(
          (state: Visible, operation) => afterOperation(state, operation, options),
          visibleIn(inspectImage(file.bytes())),
        );
      const before = this.#imageAt(start, path);
      const { firstCluster } = this.#imageAt(after, path);
      const snapshots = model.snapshots.filter(({ id }) => options.givenUp?.includes(id) !== true);
      const hardens = operations.some(
        (operation) => operation.image === path && operation.type === "repair" && operation.harden === true,
      );
      const visibleAfter = JSON.stringify({ ...model, snapshots });
      return { path, before, after: { visible: visibleAfter, firstCluster }, hardens };
    });
  }

  /** A digest of everything that the next process finds. */
  digest({ images, journal }: World): string {
    const parts = [...images.values()].map((file) => file.digest());
    for (const [key, value] of journal.flat()) {
      parts.push(value === undefined ? `no ${key}` : this.#digestOf(value));
    }
    return sha(Buffer.from(parts.join()));
  }

  /** True when an image is fenced: nobody else may touch the world. */
  isFenced(world: World): boolean {
    return this.#subjects.some(({ path }) => this.#imageAt(world, path).fenced);
  }

  /** True when some images are fenced and others are not, or not any more. */
  isFencedInPart(world: World): boolean {
    const { length } = this.#subjects.filter(({ path }) => this.#imageAt(world, path).fenced);
    return length > 0 && length < this.#subjects.length;
  }

  /**
   * Behind the fence there are at most leaks, so that the journal's loss would
   * cost no data; without a fence the image is wholly before or wholly after,
   * because anybody may write to it now. Of a repair by a scan it is not asked
   * that it hardens: it does not know whether it should.
   */
  crashed(world: World, isByScan = false): void {
    for (const subject of this.#subjects) {
      const image = this.#imageAt(world, subject.path);
      outcomeOf(subject, image);
      if (this.#options.damaged === true) {
        const expected = isByScan ? { ...subject, hardens: false } : subject;
        if (!image.fenced) this.#endOfRepair(expected, image);
        assertNotWorse(subject.before, image);
        continue;
      }
      if (!image.fenced) assert.equal(describeCheck(image.check), "clean", "not fenced, not clean");
      const worse = [...image.check.corruptions, ...image.check.overlaps].map(({ message }) => message);
      assert.deepEqual(worse, [], "more than leaks behind the fence");
    }
  }

  /**
   * What a recovery of `crashed` left: clean, not fenced, all images as before or
   * all as after, the record says which, the chain verifies, and `again` (a
   * second recovery) does nothing.
   */
  async recovered(crashed: World, world: World, again: (world: World) => Promise<number>): Promise<Outcome> {
    for (const { path } of this.#subjects) {
      const was = this.#imageAt(crashed, path);
      if (was.fenced) continue;
      // Others may have written since the fence went: recovery may clear what is left of its explanation, no more.
      assert.equal(
        this.#imageAt(world, path).behindFirstCluster,
        was.behindFirstCluster,
        "recovery wrote to an image without a fence",
      );
    }
    const digest = this.digest(world);
    const known = this.#good.get(digest);
    if (known !== undefined) return known;
    const outcome = await this.#judgeRecovered(world);
    assert.equal(await again(world), 0, "a second recovery found something to do");
    this.#good.set(digest, outcome);
    return outcome;
  }

  /**
   * What a repair by a scan left, without any journal: each image for itself is
   * clean, not fenced, and as before or as after. Several need not agree: only
   * the journal knew that they belong together.
   */
  repaired(crashed: World, world: World): void {
    for (const subject of this.#subjects) {
      // Without a fence there is no repair. What a torn fence left behind END is no part of the image.
      if (!this.#imageAt(crashed, subject.path).fenced) continue;
      const image = this.#imageAt(world, subject.path);
      assert.ok(!image.fenced, "still fenced after the repair");
      assert.equal(describeCheck(image.check), "clean");
      const outcome = outcomeOf(subject, image);
      const headers = [
        ...(outcome === "after" ? [] : [subject.before.firstCluster]),
        ...(outcome === "before" ? [] : [subject.after.firstCluster]),
      ];
      assert.ok(
        headers.some((header) => header.equals(image.firstCluster)),
        "the header fits the outcome",
      );
    }
  }

  async #judgeRecovered(world: World): Promise<Outcome> {
    const outcomes = new Set<Outcome>();
    for (const subject of this.#subjects) {
      const image = this.#imageAt(world, subject.path);
      assert.ok(!image.fenced, "still fenced after the recovery");
      const outcome = this.#endOf(subject, image);
      if (outcome !== "both") outcomes.add(outcome);
      const before = subject.before.firstCluster.equals(image.firstCluster);
      const after = subject.after.firstCluster.equals(image.firstCluster);
      const fits = (before && outcome !== "after") || (after && outcome !== "before");
      assert.ok(fits, "the header fits the outcome");
      if (before && !after) assert.equal(image.length, subject.before.length, "length of the file");
    }
    assert.ok(outcomes.size <= 1, "one image is as before, another as after");
    const outcome = [...outcomes][0] ?? "both";
    // Reading the history walks the whole chain.
    const status = (await historyOf(world)).at(-1)?.status ?? "none";
    assert.notEqual(status, "pending");
    const finished = status === "done" || status === "finished by recovery";
    if (outcome !== "both") assert.equal(finished, outcome === "after", `the record says ${status}`);
    return outcome;
  }

  /** How an image that is free again ended. */
  #endOf(subject: Subject, image: JudgedImage): Outcome {
    if (this.#options.damaged === true) return this.#endOfRepair(subject, image);
    assert.equal(describeCheck(image.check), "clean");
    return outcomeOf(subject, image);
  }

  /** A user sees the same before and after a repair: only the damage, whole or gone, tells them apart. */
  #endOfRepair(subject: Subject, image: JudgedImage): Outcome {
    const seen = outcomeOf(subject, image);
    const damage = damageIn(image, subject.hardens);
    const isBefore = damage === damageIn(subject.before, subject.hardens);
    if (damage === "") {
      assert.notEqual(seen, "before", "sound, with what was to be given up");
      return isBefore ? "both" : "after";
    }
    assert.ok(isBefore, `damaged otherwise than before: ${damage}`);
    assert.notEqual(seen, "after", "as after, and damaged");
    return "before";
  }

  /** Of a value in the journal's store. Each process works on copies, so what a world holds stays as it is. */
  #digestOf(value: Uint8Array): string {
    const digest = this.#digests.get(value) ?? sha(value);
    this.#digests.set(value, digest);
    return digest;
  }

  #imageAt(world: World, path: string): JudgedImage {
    const file = world.images.get(path);
    assert.ok(file);
    const digest = file.digest();
    const known = this.#images.get(digest);
    if (known !== undefined) return known;
    const image = judged(file.bytes(), digest);
    if (this.#images.size >= KEPT) this.#images.clear();
    this.#images.set(digest, image);
    return image;
  }
}

function afterOperation(before: Visible, operation: JournaledOperation, { received }: JudgeOptions): Visible {
  if (operation.type !== "receive") return expected(before, operation satisfies Operation);
  assert.ok(received);
  return received(before);
}

function outcomeOf({ before, after }: Subject, image: JudgedImage): Outcome {
  const isBefore = image.logical === before.logical;
  const isAfter = image.visible === after.visible;
  assert.ok(isBefore || isAfter, `neither as before nor as after: ${image.visible}`);
  return isBefore && isAfter ? "both" : isBefore ? "before" : "after";
}
