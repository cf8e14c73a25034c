import { MemoryDisk } from "../../test/support/memory-disk.ts";
import type { Random } from "../../test/support/random.ts";
import type { Moment, World } from "../../test/support/world.ts";
import { type FileState, type StateLimits, fileStates } from "./file-states.ts";

/** What a moment's end can leave for the next process. */
export interface CrashState {
  readonly how: string;
  readonly world: World;
}

/** After a kill everything is there, and what was not synced still is not. */
export function killed({ files, journal, event, next }: Moment): CrashState {
  const images = [...files].map(([path, file]) => [path, MemoryDisk.between(file, path)] as const);
  return {
    how: `killed after event ${event} (before a ${next})`,
    world: { images: new Map(images), journal: [...journal.durable, ...journal.pending] },
  };
}

/**
 * What a power cut at this moment can leave: the states of every file, with
 * every suffix of the journal's pending puts lost. All combinations where there
 * are few; otherwise each state of each file beside random ones of the others.
 */
export function* powerCuts(moment: Moment, random: Random, limits: StateLimits): Generator<CrashState> {
  const paths = [...moment.files.keys()];
  const perFile = [...moment.files.values()].map((file) => [...fileStates(file, random, limits)]);
  const puts = moment.journal.pending.length + 1;
  const state = (choice: readonly FileState[], kept: number): CrashState => {
    const images = choice.map(({ bytes }, index) => {
      const path = paths[index] ?? "";
      return [path, new MemoryDisk(bytes(), { path })] as const;
    });
    return {
      how: `power cut after event ${moment.event} (before a ${moment.next}): ${choice.map(({ how }) => how).join(" | ")}; ${kept} of ${puts - 1} puts`,
      world: {
        images: new Map(images),
        journal: [...moment.journal.durable, ...moment.journal.pending.slice(0, kept)],
      },
    };
  };
  const combinations = perFile.reduce((product, states) => product * states.length, puts);
  if (combinations <= limits.all || perFile.length === 1) {
    const every = combinations <= limits.all * 4;
    for (const choice of product(perFile)) {
      for (const kept of every ? range(puts) : new Set([0, puts - 1, random.int(puts)])) {
        yield state(choice, kept);
      }
    }
    return;
  }
  for (const [file, states] of perFile.entries()) {
    for (const own of states) {
      const choice = perFile.map((others, index) => (index === file ? own : random.pick(others)));
      yield state(choice, random.int(puts));
    }
  }
}

function* range(end: number): Generator<number> {
  for (let value = 0; value < end; value += 1) yield value;
}

function* product<T>(lists: readonly (readonly T[])[]): Generator<readonly T[]> {
  const [first, ...rest] = lists;
  if (first === undefined) {
    yield [];
    return;
  }
  for (const item of first) for (const others of product(rest)) yield [item, ...others];
}
