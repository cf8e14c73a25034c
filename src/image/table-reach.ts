/** Stands for every block behind it. */
const LAST = 0xffff_ffff;
/** Of more tables than an L1 table can have nobody remembers where they lead: they are read in every pass. */
const MAX_TABLES = 2 ** 22;

/** Between which refcount blocks the clusters lie that each L2 table refers to. */
export class TableReach {
  #lowest = new Uint32Array(0);
  #highest = new Uint32Array(0);

  /** Makes room for so many tables, as far as they are remembered. */
  grow(tables: number): void {
    if (tables <= this.#lowest.length || this.#lowest.length === MAX_TABLES) return;
    const [lowest, highest] = [this.#lowest, this.#highest];
    // Most images have one group of tables; for others there is room at once, which takes no memory before it is used.
    const room = lowest.length === 0 ? Math.min(tables, MAX_TABLES) : MAX_TABLES;
    this.#lowest = new Uint32Array(room);
    this.#highest = new Uint32Array(room);
    this.#lowest.set(lowest);
    this.#highest.set(highest);
  }

  /** A table that refers to nothing has no first block. Without room it is forgotten. */
  note(table: number, lowest: number, highest: number): void {
    this.#lowest[table] = Math.min(lowest, LAST);
    this.#highest[table] = Math.max(0, Math.min(highest, LAST));
  }

  /** Whether a table refers to a cluster of the blocks from `first` to before `end`; true as well when it was forgotten. */
  meets(table: number, first: number, end: number): boolean {
    if (table >= this.#lowest.length) return true;
    const lowest = this.#lowest[table] ?? 0;
    const highest = this.#highest[table] ?? 0;
    return lowest <= highest && lowest < end && highest >= first;
  }
}
