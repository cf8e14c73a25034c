import { pipeline } from "node:stream/promises";
import { type Command, Option } from "commander";
import { QcowalError, type View, openView, writeQcow2, writeRaw } from "../../index.ts";
import { parseImageAt } from "../image-at.ts";
import { interruptible } from "../interruption.ts";
import { toJson } from "../json.ts";
import { misuse } from "../misuse.ts";
import { progressMeter } from "../progress-meter.ts";
import { openTerminal } from "../terminal.ts";
import { printable } from "../views/text.ts";

interface ExportOptions {
  readonly format: "raw" | "qcow2";
  readonly compress?: "zlib" | "none";
  readonly force?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly forceShare?: boolean;
}

export function addExportCommand(program: Command): void {
  program
    .command("export")
    .description("write the content of an image, or of a snapshot, as a raw file or a qcow2 image")
    .argument("<image[@snapshot]>", "qcow2 image, and a snapshot by its name or id:N")
    .argument("<out>", "file to write, with holes where there are zeros; - for stdout (raw only)")
    .addOption(new Option("-O, --format <format>", "of the file").choices(["raw", "qcow2"]).default("raw"))
    .addOption(
      new Option("--compress <method>", "of a qcow2 image (default: zlib)").choices(["zlib", "none"]),
    )
    .option("--force", "replace a file that is there")
    .option("--json", "print JSON")
    .option("-q, --quiet", "print nothing but data and errors")
    .option("-U, --force-share", "take no locks: for a snapshot of an image that a running VM holds")
    .addHelpText(
      "after",
      `
The file gets its name when all of it is written and synced: there is never a
part under it. With stdout, an exit code other than 0 tells that the end is missing.
A qcow2 image stands for itself: it has the disk as it was, no backing file and no
snapshots, and any qemu writes to it.

Examples:
  $ qcowal export web.qcow2@before-upgrade before.raw
  $ qcowal export web.qcow2@id:3 - | zstd > before.raw.zst
  $ qcowal export --format qcow2 web.qcow2@before-upgrade before.qcow2`,
    )
    .action(exportImage);
}

async function exportImage(text: string, out: string, options: ExportOptions): Promise<void> {
  assertFits(out, options);
  const terminal = openTerminal(options.quiet === true);
  const { image, snapshot } = parseImageAt(text);
  const onProgress = progressMeter(terminal, `exporting ${printable(text)}`);
  await interruptible(async (signal) => {
    await using view = await openView(image, {
      forceShare: options.forceShare === true,
      signal,
      ...(snapshot === undefined ? {} : { snapshot }),
    });
    try {
      if (out === "-") {
        await pipeline(view.stream(0, view.size, { signal, onProgress }), process.stdout, { end: false });
        return;
      }
      const { words, ...facts } = await writeFile(view, out, options, { signal, onProgress });
      if (options.json === true)
        terminal.data(toJson({ image: view.path, format: options.format, ...facts }));
      else terminal.say(`Wrote ${printable(out)}: ${words}.`);
    } catch (error) {
      throw error instanceof Error && "code" in error && error.code === "EPIPE"
        ? new QcowalError("IO_FAILED", "Whoever reads the output went away.", { cause: error })
        : error;
    } finally {
      terminal.status("");
    }
  });
}

/** @throws CommanderError */
function assertFits(out: string, { format, compress, json }: ExportOptions): void {
  if (compress !== undefined && format !== "qcow2") throw misuse("--compress goes with --format qcow2");
  if (out !== "-") return;
  if (format === "qcow2") {
    throw misuse(
      "a qcow2 image does not go to stdout: its first bytes tell where its tables are, which is known last. Name a file, or use --format raw",
    );
  }
  if (json === true) throw misuse("--json and the content do not both go to stdout");
  if (process.stdout.isTTY) throw misuse("a disk's content does not belong on a terminal");
}

async function writeFile(
  view: View,
  out: string,
  { format, compress, force = false }: ExportOptions,
  hooks: { readonly signal: AbortSignal; readonly onProgress: (done: number, total: number) => void },
) {
  if (format === "raw") {
    const { path, size, written } = await writeRaw(view, out, { force, ...hooks });
    return { out: path, size, written, words: `${size} bytes, ${written} of them data` };
  }
  const how = compress === undefined ? { force } : { force, compress };
  const { path, size, written, fileSize } = await writeQcow2(view, out, { ...how, ...hooks });
  const words = `a disk of ${size} bytes, ${written} of them data, in ${fileSize} bytes`;
  return { out: path, size, written, fileSize, words };
}
