/** The oracle of src/plan/copied-flags.ts: looks at every table that the active layer reaches. */
import { type Image, readTables } from "../../../src/image/index.ts";
import { type CopiedSink, copiedInL2 } from "../../../src/plan/copied-intents.ts";
import type { Drafts } from "../../../src/plan/draft.ts";
import type { L1Tables } from "../../../src/plan/l1-tables.ts";
import type { NeededBlocks } from "../../../src/plan/needed-blocks.ts";
import type { RefcountChanges } from "../../../src/plan/refcount-changes.ts";

export class CopiedFlags {
  readonly #image: Image;
  readonly #targets: ReadonlySet<number>;

  private constructor(image: Image, targets: ReadonlySet<number>) {
    this.#image = image;
    this.#targets = targets;
  }

  static async of(image: Image, { after }: Drafts, tables: L1Tables): Promise<CopiedFlags> {
    return new CopiedFlags(image, new Set((await tables.read(after.active.contents)).targets));
  }

  async compare(changes: RefcountChanges, _: NeededBlocks, result: CopiedSink): Promise<void> {
    const { disk, header } = this.#image;
    for (const target of this.#targets) {
      if (target === 0) continue;
      for await (const table of readTables(disk, [target], header.geometry)) {
        copiedInL2(changes, table, result);
      }
    }
  }
}
