import { QcowalError } from "../errors/index.ts";

/** Lets calls into a pool in the order in which they were made, until it is closed. */
export class Entrance {
  #entering: Promise<unknown> = Promise.resolve();
  #closed: Promise<void> | undefined;

  /**
   * What calls are queued under takes a while to find out: the next one waits for
   * that. `enqueue` wraps the queued promise, so that it does not wait for its end.
   * @throws QcowalError POOL_CLOSED
   */
  async enter<Result>(enqueue: () => Promise<{ readonly result: Promise<Result> }>): Promise<Result> {
    if (this.#closed !== undefined) {
      throw new QcowalError("POOL_CLOSED", "The pool is closed. Nothing was changed; open it again.");
    }
    const entered = this.#entering.then(enqueue);
    this.#entering = entered.catch(() => undefined);
    const { result } = await entered;
    return result;
  }

  /** @throws QcowalError POOL_CLOSED */
  async assertOpen(): Promise<void> {
    await this.enter(() => Promise.resolve({ result: Promise.resolve() }));
  }

  /** `close` begins when everybody before has been let in. Idempotent. */
  close(close: () => Promise<void>): Promise<void> {
    this.#closed ??= this.#entering.then(close);
    return this.#closed;
  }
}
