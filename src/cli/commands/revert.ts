import type { Command } from "commander";
import { type WriteOptions, withConfirmation, withWriteOptions } from "../options.ts";
import { parseSelector } from "../selector.ts";
import { IMAGES, SELECTING, examples } from "./words.ts";
import { write } from "./write.ts";

/** `keep` is false with --no-keep. */
type RevertOptions = WriteOptions & { readonly keep?: string | false };

export function addRevertCommand(program: Command): void {
  withConfirmation(withWriteOptions(program.command("revert")))
    .description("make the disk as it was in a snapshot; what was written since is lost, unless it is kept")
    .argument(...SELECTING)
    .argument(...IMAGES)
    .option("--drop-bitmaps", "drop persistent bitmaps, which a revert makes wrong (a refusal without it)")
    .option("--keep <name>", "take a snapshot of the disk as it is before, in the same transaction")
    .option("--no-keep", "do not offer that at a terminal")
    .addHelpText(
      "after",
      examples("revert before-upgrade web.qcow2 --keep failed-upgrade", "revert id:3 web.qcow2 --dry-run"),
    )
    .action(async (snapshot: string, images: string[], options: RevertOptions) => {
      const { dropBitmaps, keep } = options;
      await write(
        images.map((image) => ({
          type: "revert",
          image,
          ...parseSelector(snapshot),
          ...(dropBitmaps === undefined ? {} : { dropBitmaps }),
          ...(typeof keep === "string" ? { keep } : {}),
        })),
        images,
        { ...options, offersToKeep: keep !== false },
      );
    });
}
