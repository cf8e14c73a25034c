import type { Extent, GuestDisk, View } from "../export/index.ts";

/** Views that stay open: each has descriptors and a few MiB of tables and unpacked clusters. */
const MAX_OPEN = 16;

interface OpenedView {
  readonly view: Promise<View>;
  users: number;
}

/** Opens views when they are used, and closes those that were not used for longest. */
export class OpenViews {
  /** In the order of their last use. */
  readonly #open = new Map<object, OpenedView>();

  /** A disk of which `size` is known, and that `open` opens. */
  disk(size: number, open: () => Promise<View>): GuestDisk {
    const key = {};
    const use = <Result>(act: (view: View) => Promise<Result>): Promise<Result> => this.#use(key, open, act);
    const enter = (): Promise<View> => this.#enter(key, open);
    const leave = (): Promise<void> => this.#leave(key);
    return {
      size,
      read: (offset, target) => use((view) => view.read(offset, target)),
      async *extents(offset: number, length: number): AsyncGenerator<Extent> {
        const view = await enter();
        try {
          yield* view.extents(offset, length);
        } finally {
          await leave();
        }
      },
      close: () => this.#close(key),
    };
  }

  /** Nobody uses them any more. */
  async close(): Promise<void> {
    await Promise.all([...this.#open.keys()].map((key) => this.#close(key)));
  }

  async #use<Result>(
    key: object,
    open: () => Promise<View>,
    act: (view: View) => Promise<Result>,
  ): Promise<Result> {
    const view = await this.#enter(key, open);
    try {
      return await act(view);
    } finally {
      await this.#leave(key);
    }
  }

  async #enter(key: object, open: () => Promise<View>): Promise<View> {
    const opened = this.#open.get(key) ?? { view: open(), users: 0 };
    this.#open.delete(key);
    this.#open.set(key, opened);
    opened.users += 1;
    try {
      return await opened.view;
    } catch (error) {
      // Whoever comes next tries again.
      if (this.#open.get(key) === opened) this.#open.delete(key);
      throw error;
    }
  }

  async #leave(key: object): Promise<void> {
    const left = this.#open.get(key);
    if (left !== undefined) left.users -= 1;
    for (const [other, { users }] of this.#open) {
      if (this.#open.size <= MAX_OPEN) return;
      if (users === 0) await this.#close(other);
    }
  }

  async #close(key: object): Promise<void> {
    const opened = this.#open.get(key);
    this.#open.delete(key);
    await opened?.view.then(
      (view) => view.close(),
      () => undefined,
    );
  }
}
