import type { Command } from "commander";
import { type WriteOptions, withWriteOptions } from "../options.ts";
import { parseSelector } from "../selector.ts";
import { IMAGES, SELECTING, examples } from "./words.ts";
import { write } from "./write.ts";

export function addRenameCommand(program: Command): void {
  withWriteOptions(program.command("rename"))
    .description("give a snapshot another name; its id stays")
    .argument(...SELECTING)
    .argument("<new-name>", "at most 255 bytes")
    .argument(...IMAGES)
    .option("-f, --force", "allow an empty name, or one that the image has already")
    .addHelpText("after", examples("rename before-upgrade 6.17 web.qcow2", "rename id:3 golden web.qcow2"))
    .action(async (snapshot: string, to: string, images: string[], options: WriteOptions) => {
      await write(
        images.map((image) => ({
          type: "rename",
          image,
          ...parseSelector(snapshot),
          to,
          force: options.force ?? false,
        })),
        images,
        options,
      );
    });
}
