import { type CopiedIntent, PackedIntents } from "../intent/index.ts";
import { flagsOf } from "./copied-intents.ts";

/** COPIED flags that change, packed as they are found. */
export class FoundFlags {
  readonly intents = new PackedIntents();
  #flags = 0;
  #first = Infinity;

  get flags(): number {
    return this.#flags;
  }

  /** Host offset of the first table that has some; Infinity without any. */
  get first(): number {
    return this.#first;
  }

  push(intent: CopiedIntent): void {
    this.#flags += flagsOf(intent);
    this.#first = Math.min(this.#first, intent.table);
    this.intents.push(intent);
  }
}
