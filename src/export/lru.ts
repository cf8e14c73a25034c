interface Held<Value> {
  readonly value: Promise<Value>;
  readonly bytes: number;
}

/** The values of the keys used last, made when they are asked for, and shared while they are made. */
export class Lru<Value> {
  readonly #held = new Map<string, Held<Value>>();
  readonly #most: number;
  #bytes = 0;

  /** Holds at most so many bytes, and always the last value. */
  constructor(most: number) {
    this.#most = most;
  }

  /** `bytes` is what the value takes. */
  get(key: string, bytes: number, make: () => Promise<Value>): Promise<Value> {
    const found = this.#held.get(key);
    if (found !== undefined) {
      this.#held.delete(key);
      this.#held.set(key, found);
      return found.value;
    }
    const made: Held<Value> = { value: make(), bytes };
    this.#held.set(key, made);
    this.#bytes += bytes;
    // A failed read may go well the next time.
    made.value.catch(() => {
      if (this.#held.get(key) === made) this.#drop(key, made);
    });
    for (const [oldest, held] of this.#held) {
      if (this.#bytes <= this.#most || held === made) break;
      this.#drop(oldest, held);
    }
    return made.value;
  }

  clear(): void {
    this.#held.clear();
    this.#bytes = 0;
  }

  #drop(key: string, { bytes }: Held<Value>): void {
    this.#held.delete(key);
    this.#bytes -= bytes;
  }
}
