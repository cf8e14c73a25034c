import type { TableEntries } from "../../format/index.ts";
import { readTables } from "../read-table.ts";
import type { BlockWindow } from "../refcount-blocks.ts";
import { claimStructures } from "./claim-structures.ts";
import { Comparison, checkRefcountBlocks } from "./compare.ts";
import type { CheckContext } from "./context.ts";
import { Findings, hex } from "./findings.ts";
import { FlagWindow } from "./flag-window.ts";
import { L2Groups, checkL1Flags, walkL1Tables } from "./l1-walk.ts";
import { type L2Tables, tablesWhere } from "./l2-tables.ts";
import { L2Walk, OUTSIDE } from "./l2-walk.ts";
import { Passes } from "./passes.ts";
import { OWNER, ReferenceCounts } from "./reference-counts.ts";
import type { StoredRefcounts } from "./stored-refcounts.ts";
import { TableReach } from "../table-reach.ts";

const NO_ENTRIES: TableEntries = { runs: undefined, words: new Uint32Array(0) };
/** Of the memory: chunks may become large, and a window that is too long costs more than one that is too short. */
const FILLED_SHARE = 7 / 8;

export interface PassOptions {
  /** Say also what each root occupies. */
  readonly usage?: boolean;
  /** Told how far the passes over the L2 tables have come; of passes that are still to come the total knows nothing. */
  readonly onTable?: (done: number, total: number) => void;
}

/** What the passes over an image leave for those that come after them. */
export interface PassedOver {
  readonly counts: ReferenceCounts;
  readonly comparison: Comparison;
  readonly mapping: Pick<L2Walk, "allocated" | "fragmented" | "compressed">;
  readonly groups: L2Groups;
  readonly reach: TableReach;
  /** Which parts of the file are referred to, and by how many chunks. */
  readonly chunks: Passes;
  /** Clusters that something refers to. Counted only when usage is asked for. */
  readonly usedClusters: number;
}

/**
 * Counts all references, window by window, and compares each with what is stored.
 * The first pass checks everything else besides.
 */
export async function checkInPasses(
  context: CheckContext,
  stored: StoredRefcounts,
  options: PassOptions,
): Promise<PassedOver> {
  return new CheckInPasses(context, stored, options).run();
}

class CheckInPasses {
  readonly #context: CheckContext;
  readonly #stored: StoredRefcounts;
  readonly #options: PassOptions;
  readonly #counts: ReferenceCounts;
  readonly #passes: Passes;
  readonly #chunks: Passes;
  readonly #reach = new TableReach();
  readonly #comparison: Comparison;
  #usedClusters = 0;
  #tablesDone = 0;

  constructor(context: CheckContext, stored: StoredRefcounts, options: PassOptions) {
    const { header, fileSize } = context.head;
    const { geometry } = header;
    this.#context = context;
    this.#stored = stored;
    this.#options = options;
    const note = (chunk: number): void => this.#passes.note(chunk);
    this.#counts = new ReferenceCounts(geometry, fileSize, context.memory.counts, note);
    const { chunkClusters } = this.#counts.table;
    // A claim may end in the cluster behind the last. What the table names behind that belongs to the last window.
    const blocks = Math.ceil((this.#counts.clusters + 1) / geometry.refcountEntries);
    this.#passes = new Passes(geometry, chunkClusters, blocks);
    this.#chunks = new Passes(geometry, chunkClusters, blocks);
    this.#comparison = new Comparison(context, this.#counts, stored);
  }

  async run(): Promise<PassedOver> {
    const counts = this.#counts;
    const { disk, head, memory } = this.#context;
    const { geometry } = head.header;
    let wanted = this.#passes.first(counts.table.capacity, geometry);
    let window = this.#stored.fitting(wanted, memory.flags);
    await this.#stored.load(disk, window);
    counts.begin(window);
    await this.#claimStructures(this.#context.findings);
    const flags = new FlagWindow(this.#stored, window);
    const groups = new L2Groups(this.#context, await walkL1Tables(this.#context, flags));
    const walk = new L2Walk(this.#context, counts, flags);
    await this.#walkL2Tables(groups, walk, window);
    await this.#compare(true);
    let flagsFrom = window.end;
    while (counts.window.end !== Infinity) {
      const { bytes, chunkBytes } = counts.table;
      wanted = this.#passes.next(counts.window.end, (FILLED_SHARE * bytes.length) / chunkBytes);
      window = this.#stored.fitting(wanted, memory.flags);
      await this.#stored.load(disk, window);
      counts.begin(window);
      // What is wrong with a structure was said in the first pass.
      await this.#claimStructures(new Findings());
      const next = new FlagWindow(this.#stored, { first: flagsFrom, end: window.end });
      flagsFrom = Math.max(flagsFrom, window.end);
      await checkL1Flags(this.#context, next);
      walk.beginAnother(next);
      await this.#walkL2Tables(groups, walk, window);
      await this.#compare(false);
    }
    return {
      counts,
      comparison: this.#comparison,
      mapping: walk,
      groups,
      reach: this.#reach,
      chunks: this.#chunks,
      usedClusters: this.#usedClusters,
    };
  }

  async #claimStructures(findings: Findings): Promise<void> {
    await claimStructures({ ...this.#context, findings }, (offset, length, what, weight = 1) => {
      if (this.#counts.claim(offset, length, weight, OWNER.metadata)) return;
      findings.add("corruption", "structures", () => ({
        where: what,
        offset,
        owner: what,
        what: `${what} ${OUTSIDE}`,
      }));
    });
  }

  /** Walks all of them in file order; in a later pass those that lead into the window. */
  async #walkL2Tables(groups: L2Groups, walk: L2Walk, window: BlockWindow): Promise<void> {
    let before = 0;
    for await (const tables of groups.each()) {
      this.#claimL2Tables(tables, walk.isFirst);
      await this.#walkGroup(tables, before, walk, window);
      before += tables.offsets.length;
    }
  }

  #claimL2Tables({ offsets, paths }: L2Tables, isFirst: boolean): void {
    const { clusterSize } = this.#context.head.header.geometry;
    for (const [index, offset] of offsets.entries()) {
      const weight = paths[index] ?? 0;
      if (this.#counts.claim(offset, clusterSize, weight, OWNER.l2Table) || !isFirst) continue;
      const what = `L2 table at ${hex(offset)} ${OUTSIDE}`;
      this.#context.findings.add(
        "corruption",
        "l2TablesOutside",
        () => ({ where: "L2 table", offset, l2Table: offset, what }),
        weight,
      );
    }
  }

  async #walkGroup(tables: L2Tables, before: number, walk: L2Walk, window: BlockWindow): Promise<void> {
    const { isFirst } = walk;
    const { offsets, paths, marks } = tables;
    const { disk, head, checkpoint } = this.#context;
    if (isFirst) this.#reach.grow(before + offsets.length);
    // A table behind the end of the file is all zeros.
    const numbers = tablesWhere(
      tables,
      (index) =>
        (offsets[index] ?? 0) < head.fileSize &&
        (isFirst || this.#reach.meets(before + index, window.first, window.end)),
    );
    const wanted = Float64Array.from(numbers, (index) => offsets[index] ?? 0);
    const total = this.#tablesDone + wanted.length;
    let next = 0;
    for await (const table of readTables(disk, wanted, head.header.geometry)) {
      checkpoint();
      const index = numbers[next] ?? 0;
      next += 1;
      walk.table(table.offset, table.isEmpty ? NO_ENTRIES : table, paths[index] ?? 0, marks[index] ?? 0);
      if (isFirst) walk.noteReach(this.#reach, before + index);
      this.#tablesDone += 1;
      this.#options.onTable?.(this.#tablesDone, total);
    }
  }

  async #compare(isFirst: boolean): Promise<void> {
    checkRefcountBlocks(this.#context, this.#counts, this.#stored, isFirst);
    await this.#comparison.window();
    if (this.#options.usage !== true) return;
    for (const chunk of this.#counts.table.chunks()) this.#chunks.note(chunk);
    this.#usedClusters += this.#counts.used();
  }
}
