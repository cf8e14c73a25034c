/** Runs actions that share a key one after the other, in the order in which they came; others side by side. */
export class KeyedQueue {
  readonly #tails = new Map<string, Promise<unknown>>();
  readonly #running = new Set<Promise<unknown>>();
  /** Settles when everything that was queued before has; `runAlone` waits for it and becomes it. */
  #alone: Promise<unknown> = Promise.resolve();

  async run<Result>(keys: readonly string[], action: () => Promise<Result>): Promise<Result> {
    const before = Promise.allSettled([this.#alone, ...keys.map((key) => this.#tails.get(key))]);
    const result = before.then(action);
    for (const key of keys) this.#tails.set(key, result);
    this.#running.add(result);
    try {
      return await result;
    } finally {
      this.#running.delete(result);
      for (const key of keys) if (this.#tails.get(key) === result) this.#tails.delete(key);
    }
  }

  /** Runs an action when nothing else runs; what comes later waits for it. */
  async runAlone<Result>(action: () => Promise<Result>): Promise<Result> {
    const before = Promise.allSettled([this.#alone, ...this.#running]);
    const result = before.then(action);
    this.#alone = result;
    return result;
  }
}
