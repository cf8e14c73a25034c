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
 * What a power cut at this moment can leave: the states of every file, and those
 * of the journal. All combinations where there are few; otherwise each state of
 * each file beside random ones of the others.
 */
export function* powerCuts(moment: Moment, random: Random, limits: StateLimits): Generator<CrashState> {
  const paths = [...moment.files.keys()];
  const perFile = [...moment.files.values()].map((file) => [...fileStates(file, random, limits)]);
  const { durable, pending } = moment.journal;
  const journals = journalStates(pending.length, random, limits);
  const state = (choice: readonly FileState[], kept: readonly boolean[]): CrashState => {
    const images = choice.map(({ bytes }, index) => {
      const path = paths[index] ?? "";
      return [path, new MemoryDisk(bytes(), { path })] as const;
    });
    const puts = kept.map((isKept) => (isKept ? "+" : "-")).join("");
    return {
      how: `power cut after event ${moment.event} (before a ${moment.next}): ${choice.map(({ how }) => how).join(" | ")}; puts ${puts}`,
      world: {
        images: new Map(images),
        journal: [...durable, ...pending.filter((_, put) => kept[put] === true)],
      },
    };
  };
  const choices = perFile.reduce((product, states) => product * states.length, 1);
  if (choices * journals.length <= limits.all * 4) {
    for (const choice of product(perFile)) for (const kept of journals) yield state(choice, kept);
    return;
  }
  for (const [file, states] of perFile.entries()) {
    for (const own of states) {
      const choice = perFile.map((others, index) => (index === file ? own : random.pick(others)));
      const extremes = [journals[0] ?? [], journals[pending.length] ?? [], random.pick(journals)];
      for (const kept of perFile.length === 1 ? new Set(extremes) : extremes.slice(-1)) {
        yield state(choice, kept);
      }
    }
  }
}

/**
 * Which pending puts were kept: every beginning of them, the empty one first,
 * and some with gaps, as a torn block of LevelDB's log leaves them.
 */
function journalStates(pending: number, random: Random, { tears }: StateLimits): boolean[][] {
  const kept = (isKept: (put: number) => boolean): boolean[] =>
    Array.from({ length: pending }, (_, put) => isKept(put));
  const beginnings = Array.from({ length: pending + 1 }, (_, end) => kept((put) => put < end));
  const torn = pending < 2 ? [] : Array.from({ length: tears }, () => kept(() => random.chance(0.6)));
  return [...beginnings, ...torn];
}

function* product<T>(lists: readonly (readonly T[])[]): Generator<readonly T[]> {
  const [first, ...rest] = lists;
  if (first === undefined) {
    yield [];
    return;
  }
  for (const item of first) for (const others of product(rest)) yield [item, ...others];
}
