/**
 * The disk of an image that is read without locks, for clients that stay. When it
 * is reverted or resized, what was opened is over for good: who has it is told
 * so at every call, and who comes next gets the disk as it is then.
 */
import { type QcowalError, isQcowalError } from "../errors/index.ts";
import { type Extent, type GuestDisk, type View, openView } from "../export/index.ts";
import type { ChangedRange, ChangedSince, NbdExport } from "../nbd/index.ts";

/** What is known to differ since a snapshot, of a disk of this size. */
type ChangedIn = (size: number) => readonly ChangedSince[];

/** What one client sees, from its first request to its last. */
type Seen = Required<Pick<NbdExport, "disk" | "changedSince">>;

export class CurrentDisk {
  readonly #image: string;
  readonly #changedIn: ChangedIn;
  #opened: OpenedDisk;
  #looking: Promise<Seen> | undefined;
  #isClosed = false;

  private constructor(image: string, view: View, changedIn: ChangedIn) {
    this.#image = image;
    this.#changedIn = changedIn;
    this.#opened = new OpenedDisk(view, changedIn(view.size));
  }

  /** Of a view without locks, which it closes. */
  static of(view: View, changedIn: ChangedIn): CurrentDisk {
    return new CurrentDisk(view.path, view, changedIn);
  }

  /** As it was opened last. */
  get seen(): Seen {
    return this.#opened.seen;
  }

  /**
   * As it is now; the same as before while nothing happened.
   * @throws QcowalError as `openView`
   */
  now(): Promise<Seen> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #look(): Promise<Seen> {
    if (await this.#opened.isThere()) return this.#opened.seen;
    const view = await openView(this.#image, { forceShare: true });
    if (this.#isClosed) await view.close();
    else {
      const before = this.#opened;
      this.#opened = new OpenedDisk(view, this.#changedIn(view.size));
      await before.close();
    }
    return this.#opened.seen;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#looking?.catch(() => undefined);
    await this.#opened.close();
  }
}

/** One opening of the disk. */
class OpenedDisk implements GuestDisk {
  readonly #view: View;
  readonly seen: Seen;
  /** Why it is over. */
  #over: QcowalError | undefined;

  constructor(view: View, changedSince: readonly ChangedSince[]) {
    this.#view = view;
    this.seen = {
      disk: this,
      changedSince: changedSince.map((since) => ({
        name: since.name,
        ranges: (offset, length) => this.#ranges(since, offset, length),
      })),
    };
  }

  get size(): number {
    return this.#view.size;
  }

  /** @throws QcowalError when nobody can know */
  async isThere(): Promise<boolean> {
    try {
      await this.#whileThere(() => this.#view.assertUnchanged());
      return true;
    } catch (error) {
      if (isQcowalError(error, "IMAGE_CHANGED")) return false;
      throw error;
    }
  }

  read(offset: number, target: Uint8Array): Promise<void> {
    return this.#whileThere(() => this.#view.read(offset, target));
  }

  async *extents(offset: number, length: number): AsyncGenerator<Extent> {
    const extents = this.#view.extents(offset, length);
    try {
      for (;;) {
        const next = await this.#whileThere(() => extents.next());
        if (next.done === true) return;
        yield next.value;
      }
    } finally {
      await extents.return(undefined);
    }
  }

  /** They are found in the image, whatever it holds by then: they count when this disk is still there behind that. */
  async *#ranges(since: ChangedSince, offset: number, length: number): AsyncGenerator<ChangedRange> {
    for await (const range of since.ranges(offset, length)) {
      await this.#whileThere(() => this.#view.assertUnchanged());
      yield range;
    }
  }

  async #whileThere<Result>(act: () => Promise<Result>): Promise<Result> {
    if (this.#over !== undefined) throw this.#over;
    try {
      return await act();
    } catch (error) {
      if (isQcowalError(error, "IMAGE_CHANGED")) this.#over ??= error;
      // What the others were reading is closed by now.
      throw this.#over ?? error;
    }
  }

  close(): Promise<void> {
    return this.#view.close();
  }
}
