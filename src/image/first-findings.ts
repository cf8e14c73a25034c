/** More findings say no more. */
const MAX_FINDINGS = 10;
/** More than a table has. */
const ENTRIES = 2 ** 20;

/**
 * The first findings in words. A file that is gone over in several passes says
 * the same, in the same order, as in one: each finding has its place in the pass.
 */
export class FirstFindings {
  readonly words: string[] = [];
  readonly #places: number[] = [];
  #place = 0;

  get isFull(): boolean {
    return this.words.length >= MAX_FINDINGS;
  }

  /** Another pass begins. */
  restart(): void {
    this.#place = 0;
  }

  /** The pass goes on to the next structure. */
  proceed(): void {
    this.#place = Math.floor(this.#place) + 1;
  }

  /** The pass comes to an entry of the structure. */
  proceedTo(entry: number): void {
    this.#place = Math.floor(this.#place) + (entry + 1) / ENTRIES;
  }

  /** What a later pass may find again is not told twice. */
  add(what: string, isFirstPass: boolean): void {
    if (this.isFull || (!isFirstPass && this.words.includes(what))) return;
    let at = this.words.length;
    while (at > 0 && (this.#places[at - 1] ?? 0) > this.#place) at -= 1;
    this.words.splice(at, 0, what);
    this.#places.splice(at, 0, this.#place);
  }
}
