/** The values of the keys used last, made when they are asked for, and shared while they are made. */
export class Lru<Value> {
  readonly #values = new Map<number, Promise<Value>>();
  readonly #most: number;

  /** Holds at most so many. */
  constructor(most: number) {
    this.#most = Math.max(1, Math.floor(most));
  }

  get(key: number, make: () => Promise<Value>): Promise<Value> {
    const held = this.#values.get(key);
    this.#values.delete(key);
    const value = held ?? make();
    this.#values.set(key, value);
    if (held !== undefined) return value;
    // A failed read may go well the next time.
    value.catch(() => {
      if (this.#values.get(key) === value) this.#values.delete(key);
    });
    for (const oldest of this.#values.keys()) {
      if (this.#values.size <= this.#most) break;
      this.#values.delete(oldest);
    }
    return value;
  }
}
