import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { type Visible, expected, visible } from "../../../test/support/model.ts";
import { NaiveError, checkImage } from "../../../test/support/naive-qcow2.ts";
import { run } from "../../../test/support/programs.ts";
import { type Random, writeImage } from "../../image-maker/index.ts";
import { SHAPES, SNAPSHOT_NAME, type ShapeName, type SnapshotVerb } from "./cases.ts";
import { record } from "./record.ts";
import { scratchDir } from "./run-case.ts";
import { crashStates } from "./states.ts";
import { readTree } from "./tree.ts";

/**
 * What a power cut leaves, worst first: `corrupt` by the checker; `mixed`, the
 * content or the list neither as before nor as after; `leaked`; `clean`.
 */
export const KINDS = ["corrupt", "mixed", "leaked", "clean"] as const;
export type Kind = (typeof KINDS)[number];

export interface PeerReport extends Readonly<Record<Kind, number>> {
  readonly states: number;
  /** States on which `qemu-img check` was asked, and did not say the same as our checker. */
  readonly asked: number;
  readonly disagreed: readonly string[];
}

export interface PeerOptions {
  readonly states?: number;
  /** `qemu-img check` is asked about one state in so many. */
  readonly askEvery?: number;
}

const QEMU_FLAG = { create: "-c", revert: "-a", delete: "-d" } as const;

/** Records `qemu-img snapshot` and judges what a power cut in it can leave; nothing recovers that. */
export async function judgePeer(
  shape: ShapeName,
  verb: SnapshotVerb,
  random: Random,
  { states = Number.POSITIVE_INFINITY, askEvery = 50 }: PeerOptions = {},
): Promise<PeerReport> {
  const dir = await scratchDir();
  try {
    const image = join(dir, "image.qcow2");
    await writeImage(image, SHAPES[shape]);
    const before = visible(await readFile(image));
    const after = expected(before, { type: verb, image, name: SNAPSHOT_NAME[verb] });
    const start = new Map([...readTree(dir)].filter(([path]) => path === image));
    const words = ["snapshot", QEMU_FLAG[verb], SNAPSHOT_NAME[verb], image];
    const events = await record(["qemu-img", ...words], image, `${dir}.trace`);
    const counts: Record<Kind, number> = { corrupt: 0, mixed: 0, leaked: 0, clean: 0 };
    const disagreed: string[] = [];
    let asked = 0;
    const all = crashStates(dir, start, events, random, { states });
    for (const state of all) {
      const bytes = state.tree().get(image);
      if (!(bytes instanceof Buffer)) throw new Error("qemu-img took the image away");
      const kind = kindOf(bytes, before, after);
      counts[kind] += 1;
      if (random.int(askEvery) !== 0) continue;
      asked += 1;
      await writeFile(image, bytes);
      const { code } = await run("qemu-img", ["check", image]);
      if (!AGREES[kind].includes(code))
        disagreed.push(`${kind} at event ${state.position} ${state.fates}: ${code}`);
    }
    return { ...counts, states: all.length, asked, disagreed };
  } finally {
    await rm(dir, { recursive: true, force: true });
    await rm(`${dir}.trace`, { force: true });
  }
}

/** What `qemu-img check` may end with: 1 cannot be opened or checked, 2 corrupt, 3 leaked. Content it does not judge. */
const AGREES: Readonly<Record<Kind, readonly (number | null)[]>> = {
  corrupt: [1, 2],
  mixed: [0, 3],
  leaked: [3],
  clean: [0],
};

function kindOf(bytes: Buffer, before: Visible, after: Visible): Kind {
  try {
    const { corruptions, overlaps, copied, leaks } = checkImage(bytes);
    // A wrong COPIED flag is an error to qemu-img check too: the next guest write may edit a snapshot by it.
    if (corruptions.length + overlaps.length + copied.length > 0) return "corrupt";
    const now = visible(bytes);
    if (!isDeepStrictEqual(now, before) && !isDeepStrictEqual(now, after)) return "mixed";
    return leaks.length > 0 ? "leaked" : "clean";
  } catch (error) {
    // Not even readable.
    if (error instanceof NaiveError) return "corrupt";
    throw error;
  }
}
