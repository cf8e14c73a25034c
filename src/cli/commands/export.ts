import { pipeline } from "node:stream/promises";
import type { Command } from "commander";
import { QcowalError, openView, writeRaw } from "../../index.ts";
import { parseImageAt } from "../image-at.ts";
import { interruptible } from "../interruption.ts";
import { toJson } from "../json.ts";
import { misuse } from "../misuse.ts";
import { progressMeter } from "../progress-meter.ts";
import { openTerminal } from "../terminal.ts";
import { printable } from "../views/text.ts";

interface ExportOptions {
  readonly force?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly forceShare?: boolean;
}

export function addExportCommand(program: Command): void {
  program
    .command("export")
    .description("write the content of an image, or of a snapshot, as a raw file")
    .argument("<image[@snapshot]>", "qcow2 image, and a snapshot by its name or id:N")
    .argument("<out>", "file to write, with holes where there are zeros; - for stdout")
    .option("--force", "replace a file that is there")
    .option("--json", "print JSON")
    .option("-q, --quiet", "print nothing but data and errors")
    .option("-U, --force-share", "take no locks: for a snapshot of an image that a running VM holds")
    .addHelpText(
      "after",
      `
The file gets its name when all of it is written and synced: there is never a
part under it. With stdout, an exit code other than 0 tells that the end is missing.

Examples:
  $ qcowal export web.qcow2@before-upgrade before.raw
  $ qcowal export web.qcow2@id:3 - | zstd > before.raw.zst`,
    )
    .action(exportRaw);
}

async function exportRaw(text: string, out: string, options: ExportOptions): Promise<void> {
  if (out === "-" && options.json === true) throw misuse("--json and the content do not both go to stdout");
  if (out === "-" && process.stdout.isTTY) throw misuse("a disk's content does not belong on a terminal");
  const terminal = openTerminal(options.quiet === true);
  const { image, snapshot } = parseImageAt(text);
  const onProgress = progressMeter(terminal, `exporting ${printable(text)}`);
  await interruptible(async (signal) => {
    await using view = await openView(image, {
      forceShare: options.forceShare === true,
      ...(snapshot === undefined ? {} : { snapshot }),
    });
    try {
      if (out === "-") {
        await pipeline(view.stream(0, view.size, { signal, onProgress }), process.stdout, { end: false });
        return;
      }
      const force = options.force === true;
      const { path, size, written } = await writeRaw(view, out, { force, signal, onProgress });
      if (options.json === true) terminal.data(toJson({ image: view.path, out: path, size, written }));
      else terminal.say(`Wrote ${printable(out)}: ${size} bytes, ${written} of them data.`);
    } catch (error) {
      throw error instanceof Error && "code" in error && error.code === "EPIPE"
        ? new QcowalError("IO_FAILED", "Whoever reads the output went away.", { cause: error })
        : error;
    } finally {
      terminal.status("");
    }
  });
}
