import { Command, CommanderError } from "commander";
import { isQcowalError } from "../index.ts";
import { checkExitOfError } from "./check-exit.ts";
import { withDefaultDuration } from "./default-duration.ts";
import { errorJson } from "./error-json.ts";
import { EXIT, EXIT_CODES_HELP, exitCodeOf } from "./exit-codes.ts";
import { toJson } from "./json.ts";
import { version } from "./version.ts";

/** Takes the exit code of a command that has an answer of its own. */
export type Answer = (exitCode: number) => void;

/** By the names by which they are called, in the order of the help: what describes each. */
export type Commands<Name extends string = string> = Readonly<
  Record<Name, (program: Command, answer: Answer) => void>
>;

/** All commands, or the one that is called: to describe the others takes longer than it does. */
function program(commands: Commands, called: string | undefined, answer: Answer): Command {
  const command = new Command("qcowal")
    .description("Crash-safe, journaled snapshots for qcow2 images.")
    .version(version)
    .helpCommand(false)
    .exitOverride()
    // Errors are thrown and said once, by `report`.
    .configureOutput({ outputError: () => undefined })
    .addHelpText(
      "after",
      `
${EXIT_CODES_HELP}

Every change is written to a journal first (.qcowal beside the image, --journal
or QCOWAL_JOURNAL). Whatever interrupts it, 'qcowal recover' finishes it or
proves that it never began; until then every qemu refuses the image. When the
journal is lost, 'qcowal repair --without-journal' frees the image by a scan.
What a killed qemu left, 'qcowal repair' mends.

Examples:
  $ qcowal create before-upgrade web.qcow2
  $ qcowal list web.qcow2
  $ qcowal revert before-upgrade web.qcow2
  $ qcowal delete before-upgrade web.qcow2
  $ qcowal check web.qcow2
  $ qcowal history web.qcow2`,
    );
  const wanted = called !== undefined && Object.hasOwn(commands, called) ? commands[called] : undefined;
  // Two names may be described together.
  for (const add of wanted === undefined ? new Set(Object.values(commands)) : [wanted]) add(command, answer);
  return command;
}

/** Which command the words are for, as far as one can tell when they are wrong. */
function hintFor(args: readonly string[], root: Command): string {
  const named = root.commands.find((command) => command.name() === args[0]);
  return `Try 'qcowal ${named === undefined ? "" : `${named.name()} `}--help'.`;
}

const UNLOCKED_HINT =
  "With -U (--force-share) it is read without locks: what snapshots hold is as it was, anything else may be of no single moment.";

/** Of a command that reads an image, how to read one that is in use. The drop-in says what qemu-img says. */
function mayReadUnlocked(error: unknown, [name]: readonly string[], root: Command): boolean {
  if (!isQcowalError(error, "IMAGE_IN_USE") || name === "snapshot") return false;
  const command = root.commands.find((candidate) => candidate.name() === name);
  return (
    command?.opts()["forceShare"] !== true &&
    command?.options.some(({ long }) => long === "--force-share") === true
  );
}

function report(error: unknown, args: readonly string[], root: Command): void {
  // A group of commands without a command: its help is on stderr already.
  if (error instanceof CommanderError && error.code === "commander.help") return;
  const isJson = args.includes("--json") || args.includes("--output=json");
  const isMisuse = error instanceof CommanderError || error instanceof TypeError;
  const raw = error instanceof Error ? error.message : String(error);
  const message = raw.replace(/^error: /, "");
  if (isJson) {
    const data = isQcowalError(error)
      ? errorJson(error)
      : { code: isMisuse ? "MISUSE" : "INTERNAL", message, details: {} };
    process.stderr.write(`${toJson({ error: data })}\n`);
    return;
  }
  process.stderr.write(`qcowal: ${message}\n`);
  if (error instanceof CommanderError) process.stderr.write(`${hintFor(args, root)}\n`);
  else if (mayReadUnlocked(error, args, root)) process.stderr.write(`${UNLOCKED_HINT}\n`);
  // Neither misuse nor one of our own errors: a bug, and the stack says where.
  else if (!isMisuse && !isQcowalError(error) && error instanceof Error) {
    process.stderr.write(`${error.stack}\n`);
  }
}

/** The drop-ins answer as qemu-img does. */
function exitCodeFor(command: string | undefined, error: unknown, code: number): number {
  if (command === "snapshot") return EXIT.failed;
  return command === "check" ? checkExitOfError(error, code) : code;
}

/** Runs the command with the words behind `qcowal`, of which the first is one of `commands` if it is one at all; returns the exit code. */
export async function runCli(args: readonly string[], commands: Commands): Promise<number> {
  let answered: number = EXIT.done;
  const root = program(commands, args[0], (exitCode) => {
    answered = exitCode;
  });
  if (args.length === 0) {
    process.stderr.write(root.helpInformation());
    return EXIT.misuse;
  }
  try {
    await root.parseAsync(withDefaultDuration(args), { from: "user" });
    return answered;
  } catch (error) {
    const code = exitCodeOf(error);
    if (code === EXIT.done) return code;
    report(error, args, root);
    return exitCodeFor(args[0], error, code);
  }
}
