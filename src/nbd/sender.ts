import type { Writable } from "node:stream";
import { Disconnected, NbdClientError } from "./client-error.ts";

type Write = (...parts: readonly Uint8Array[]) => Promise<void>;

/** Sends replies whole, one after the other, and gives up on a client that does not take them. */
export class Sender {
  readonly #stream: Writable;
  readonly #stallTime: number;
  #pending = 0;
  #timer: NodeJS.Timeout | undefined;
  #held: Promise<void> | undefined;

  constructor(stream: Writable, stallTime: number) {
    this.#stream = stream;
    this.#stallTime = stallTime;
  }

  /** Resolves once the system has taken the bytes. @throws Disconnected */
  async send(...parts: readonly Uint8Array[]): Promise<void> {
    while (this.#held !== undefined) await this.#held;
    await this.#write(...parts);
  }

  /** For a reply in several writes that nothing may come between. */
  async exclusively(action: (write: Write) => Promise<void>): Promise<void> {
    while (this.#held !== undefined) await this.#held;
    const { promise, resolve } = newTurn();
    this.#held = promise;
    try {
      await action((...parts) => this.#write(...parts));
    } finally {
      this.#held = undefined;
      resolve();
    }
  }

  giveUp(error: Error): void {
    this.#stream.destroy(error);
  }

  async #write(...parts: readonly Uint8Array[]): Promise<void> {
    if (this.#stream.destroyed || this.#stream.writableEnded) throw new Disconnected();
    this.#pending += 1;
    if (this.#pending === 1) this.#expectProgress();
    try {
      await new Promise<void>((resolve, reject) => {
        const last = parts.length - 1;
        this.#stream.cork();
        for (const [index, part] of parts.entries())
          this.#stream.write(part, (error) => {
            if (error) reject(new Disconnected());
            else if (index === last) resolve();
          });
        this.#stream.uncork();
      });
    } finally {
      this.#pending -= 1;
      clearTimeout(this.#timer);
      if (this.#pending > 0) this.#expectProgress();
    }
  }

  #expectProgress(): void {
    this.#timer = setTimeout(() => {
      this.#stream.destroy(new NbdClientError("it does not read its replies"));
    }, this.#stallTime);
  }
}

function newTurn(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => undefined;
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
