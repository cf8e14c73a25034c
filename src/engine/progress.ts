import { throwIfAborted } from "../errors/index.ts";
import type { RunOptions, Step } from "./options.ts";
import type { RecoveredTransaction } from "./reports.ts";

/** Tells the caller where a transaction stands, and hears whether it should go on. */
export class Progress {
  readonly #options: RunOptions;
  readonly #images: readonly string[];
  transaction: number | undefined;
  #committed = false;

  constructor(options: RunOptions, images: readonly string[]) {
    this.#options = options;
    this.#images = images;
  }

  /**
   * Announces a step. Before the commit a raised signal or a throwing listener
   * stops the transaction here; afterwards neither can.
   * @throws QcowalError ABORTED, or what the listener threw
   */
  step(step: Step, recovered?: RecoveredTransaction): void {
    this.checkpoint();
    const event = {
      step,
      images: this.#images,
      transaction: this.transaction,
      ...(recovered === undefined ? {} : { recovered }),
    };
    try {
      this.#options.onProgress?.(event);
    } catch (error) {
      if (!this.#committed) throw error;
      process.emitWarning(error instanceof Error ? error : String(error));
    }
  }

  committed(): void {
    this.#committed = true;
  }

  /**
   * Inside a step that may take long: a raised signal stops the transaction here too.
   * @throws QcowalError ABORTED
   */
  checkpoint(): void {
    if (this.#committed) return;
    throwIfAborted(
      this.#options.signal,
      "The operation was aborted before it was decided. Nothing was changed.",
    );
  }
}
