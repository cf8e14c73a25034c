import { readFile } from "node:fs/promises";
import { buffer } from "node:stream/consumers";
import { type Command, Option } from "commander";
import { OPERATIONS_SCHEMA, type OperationsDocument, QcowalError, operationsDocument } from "../../index.ts";
import { toJson } from "../json.ts";
import { misuse } from "../misuse.ts";
import { type WriteOptions, withConfirmation, withWriteOptions } from "../options.ts";
import { openTerminal } from "../terminal.ts";
import { examples } from "./words.ts";
import { write } from "./write.ts";

type RunOptions = WriteOptions & { readonly schema?: boolean };

export function addRunCommand(program: Command): void {
  withConfirmation(withWriteOptions(program.command("run")))
    .description("run operations that a JSON file lists, on one image or several, as one transaction")
    .argument("[file]", "JSON file; - for standard input")
    .addOption(new Option("--schema", "print the JSON schema of the file"))
    .addHelpText(
      "after",
      `
The file has a list of operations, or {"operations": [...], "reason": "..."}.

${examples("run rotate.json", "run - < rotate.json", "run --schema > operations.schema.json").trimStart()}

A rotation:
  [{"type": "create", "image": "web.qcow2", "name": "today"},
   {"type": "delete", "image": "web.qcow2", "name": "a week ago"}]`,
    )
    .action(async (file: string | undefined, options: RunOptions) => {
      if (options.schema === true) {
        openTerminal(false).data(toJson(OPERATIONS_SCHEMA));
        return;
      }
      if (file === undefined) throw misuse("missing required argument 'file'");
      const { operations, reason } = await documentIn(file);
      const images = operations.map(({ image }) => image);
      await write(operations, images, { ...(reason === undefined ? {} : { reason }), ...options });
    });
}

async function documentIn(file: string): Promise<OperationsDocument> {
  const bytes = await (file === "-" ? buffer(process.stdin) : readFile(file)).catch((error: unknown) => {
    throw new QcowalError(
      "IO_FAILED",
      `${file} cannot be read: ${error instanceof Error ? error.message : String(error)}. Nothing was changed.`,
      { cause: error },
    );
  });
  try {
    return operationsDocument(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)));
  } catch (error) {
    throw misuse(`${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
}
