import { type Disk, allEnded } from "../disk/index.ts";
import { type Edit, type Intent, applyEdits, applyIntent, editOf, positionOf } from "../intent/index.ts";

/** Groups under way at a time: while one waits for the disk, the other computes. */
const LANES = 2;
/** Of one group, which is waited for as a whole: to wake up for each costs as much as it does. */
const GROUP_EDITS = 16;
const GROUP_BYTES = 1024 * 1024;
/** Of those that are not known by what they change, which may be large. */
const GROUP_OTHERS = 4;

/** Intents of different tables and blocks. */
interface Group {
  readonly positions: Set<number>;
  readonly edits: Edit[];
  readonly others: Intent[];
}

/** Divides intents into groups, in order. */
class Groups {
  readonly #intents: Iterator<Intent>;
  #left: Intent | undefined;

  constructor(intents: Iterable<Intent>) {
    this.#intents = intents[Symbol.iterator]();
  }

  /** Undefined when there are none left. */
  next(): Group | undefined {
    const group: Group = { positions: new Set(), edits: [], others: [] };
    let bytes = 0;
    for (;;) {
      const intent = this.#take();
      if (intent === undefined) break;
      const edit = editOf(intent);
      bytes += edit?.window.length ?? 0;
      const position = positionOf(intent);
      const fits = group.positions.size === 0 || (bytes <= GROUP_BYTES && !group.positions.has(position));
      if (!fits) {
        this.#left = intent;
        break;
      }
      group.positions.add(position);
      if (edit === undefined) group.others.push(intent);
      else group.edits.push(edit);
      if (group.edits.length === GROUP_EDITS || group.others.length === GROUP_OTHERS) break;
    }
    return group.positions.size === 0 ? undefined : group;
  }

  #take(): Intent | undefined {
    const left = this.#left;
    this.#left = undefined;
    if (left !== undefined) return left;
    const next = this.#intents.next();
    return next.done === true ? undefined : next.value;
  }
}

/**
 * Applies intents of one phase, in any order and several at a time: nothing
 * between two syncs depends on what was written first. Only those of the same
 * table or block take turns, because each reads the sectors that it changes.
 * After a failure none is begun, and it is thrown when no write is under way any more.
 */
export async function applyIntents(
  disk: Disk,
  intents: Iterable<Intent>,
  checkpoint: () => void = () => undefined,
): Promise<void> {
  const waiting = new Groups(intents);
  /** The last turn of each table or block that has one. */
  const turns = new Map<number, Promise<void>>();
  let failed = false;
  const apply = async ({ positions, edits, others }: Group): Promise<void> => {
    if (failed) return;
    for (const _ of positions) checkpoint();
    const begun = others.map((intent) => applyIntent(disk, intent));
    if (edits.length > 0) begun.push(applyEdits(disk, edits));
    await allEnded(begun);
  };
  const lane = async (): Promise<void> => {
    // One iterator for all lanes: each takes the next group that no other has.
    for (;;) {
      const group = waiting.next();
      if (group === undefined || failed) return;
      const { positions } = group;
      // Whoever has the turn before has begun, and waits for none that began later.
      const turn = allEnded([...positions].flatMap((position) => turns.get(position) ?? [])).then(() =>
        apply(group),
      );
      for (const position of positions) turns.set(position, turn);
      await turn;
      for (const position of positions) if (turns.get(position) === turn) turns.delete(position);
    }
  };
  const lanes = Array.from({ length: LANES }, async () => {
    try {
      await lane();
    } catch (error) {
      failed = true;
      throw error;
    }
  });
  await allEnded(lanes);
}
