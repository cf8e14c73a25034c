import { type JournalReader, resolvedPath } from "../../journal/index.ts";
import { QcowalError, throwIfAborted } from "../errors/index.ts";
import { decodePart } from "../engine/index.ts";
import {
  type HistoryEntry,
  type HistoryFilter,
  type Moment,
  type SnapshotNode,
  type SnapshotTree,
  entriesUntil,
  entryAt,
  isWanted,
  snapshotTree,
  timeline,
} from "../history/index.ts";
import type { Intent, Phase } from "../intent/index.ts";

export interface HistoryQuery extends HistoryFilter {
  /** Newest first. */
  readonly reverse?: boolean;
  /** At most so many: the newest, in whichever order. */
  readonly last?: number;
  /** Numbers from this one on. */
  readonly from?: number;
  /** Ends it with ABORTED: what is wanted may be far behind what is read. */
  readonly signal?: AbortSignal;
}

/** An intent of a transaction's plan, and where it belongs. */
export interface PlannedIntent {
  readonly phase: Phase;
  /** Resolved path of the image at that time. */
  readonly image: string;
  readonly intent: Intent;
}

/** What the record says of snapshots that have or had one name or id. */
export interface Blame {
  readonly snapshot: SnapshotNode;
  /** What it was taken from, where that is a snapshot that the record knows. */
  readonly parent?: SnapshotNode;
  /** The disk was made from it, as far as the record knows. */
  readonly isCurrent: boolean;
}

/** Answers from a journal that somebody opened. */
export class HistoryReader {
  readonly #journal: JournalReader;

  constructor(journal: JournalReader) {
    this.#journal = journal;
  }

  /** @throws TypeError for a query that is none; QcowalError JOURNAL_DAMAGED, ABORTED */
  async *entries(
    images: string | readonly string[] | undefined,
    query: HistoryQuery = {},
  ): AsyncGenerator<HistoryEntry> {
    const { reverse = false, last, from = 1, signal, ...filter } = query;
    if (last !== undefined && (!Number.isSafeInteger(last) || last < 0)) {
      throw new TypeError("'last' must be a number of entries");
    }
    const paths =
      images === undefined
        ? undefined
        : await Promise.all([images].flat().map((image) => resolvedPath(image)));
    if (last === 0) return;
    // The newest are found from the end, whichever way they are shown.
    const isFromEnd = reverse || last !== undefined;
    const kept: HistoryEntry[] = [];
    let found = 0;
    for await (const entry of timeline(this.#journal, paths, { from, reverse: isFromEnd })) {
      throwIfAborted(signal, "Reading the history was called off. Nothing was changed.");
      if (!isWanted(entry, filter)) continue;
      if (isFromEnd && !reverse) kept.push(entry);
      else yield entry;
      found += 1;
      if (found === last) break;
    }
    yield* kept.toReversed();
  }

  /** @throws QcowalError TRANSACTION_NOT_FOUND */
  async transaction(number: number): Promise<HistoryEntry> {
    const entry =
      Number.isSafeInteger(number) && number > 0 ? await entryAt(this.#journal, number) : undefined;
    if (entry !== undefined) return entry;
    throw new QcowalError(
      "TRANSACTION_NOT_FOUND",
      `${this.#journal.dir}: no transaction has the number ${number}. 'qcowal history' shows which there are.`,
      { details: { journal: this.#journal.dir, transaction: number } },
    );
  }

  /**
   * The plan of a transaction as it was logged, in the order in which it is applied.
   * @throws QcowalError TRANSACTION_NOT_FOUND, JOURNAL_COMPACTED when a compaction has dropped it
   */
  async *intents(number: number): AsyncGenerator<PlannedIntent> {
    const { images } = await this.transaction(number);
    for await (const body of this.#journal.parts(number)) {
      const { phase, image, intents } = decodePart(body);
      for (const intent of intents) yield { phase, image: images[image]?.image ?? "", intent };
    }
  }

  /** @throws QcowalError NOT_RECORDED for an image that the record knows nothing of, then or at all */
  async tree(image: string, moment?: Moment): Promise<SnapshotTree> {
    const path = await resolvedPath(image);
    const entries: HistoryEntry[] = [];
    for await (const entry of timeline(this.#journal, [path])) entries.push(entry);
    const until = moment === undefined ? entries : entriesUntil(entries, moment);
    const tree = snapshotTree(until, path);
    if (tree.asOf !== undefined) return tree;
    const [first] = entries;
    const since =
      first === undefined
        ? "knows nothing of it"
        : `begins with transaction ${first.transaction}, at ${new Date(first.began).toISOString()}`;
    throw new QcowalError("NOT_RECORDED", `${path}: the record in ${this.#journal.dir} ${since}.`, {
      details: { path, journal: this.#journal.dir },
    });
  }

  /** @throws QcowalError NOT_RECORDED, SNAPSHOT_NOT_FOUND */
  async blame(image: string, nameOrId: string): Promise<Blame[]> {
    const tree = await this.tree(image);
    const byKey = new Map(tree.nodes.map((node) => [node.key, node]));
    const named = tree.nodes.filter(
      ({ snapshot, renames }) => snapshot.name === nameOrId || renames.some(({ from }) => from === nameOrId),
    );
    const found = named.length > 0 ? named : tree.nodes.filter(({ snapshot }) => snapshot.id === nameOrId);
    if (found.length === 0) {
      throw new QcowalError(
        "SNAPSHOT_NOT_FOUND",
        `${image}: the record knows no snapshot ${JSON.stringify(nameOrId)}, now or earlier.`,
      );
    }
    return found.map((snapshot) => {
      const parent = typeof snapshot.parent === "string" ? byKey.get(snapshot.parent) : undefined;
      return {
        snapshot,
        ...(parent === undefined ? {} : { parent }),
        isCurrent: tree.current === snapshot.key,
      };
    });
  }
}
