import { join, resolve } from "node:path";
import { cli } from "../../../test/support/command.ts";
import { type Ended, run } from "../../../test/support/programs.ts";

const dist = resolve(import.meta.dirname, "../../../dist");

/** Runs the command and returns how it ended. */
export type Command = (...args: readonly string[]) => Promise<Pick<Ended, "code" | "stdout" | "stderr">>;

/** In a process of its own, as a user does. */
export const asProcess: Command = (...args) => {
  const [program = "", ...rest] = cli(...args);
  return run(program, rest);
};

interface Built {
  readonly runCli: (args: readonly string[], commands: object) => Promise<number>;
  readonly commands: object;
  readonly openJournal: (dir: string, options: { readonly create: boolean }) => Promise<OpenedJournal>;
}

interface OpenedJournal extends AsyncDisposable {
  readonly verify: () => Promise<{ readonly records: number }>;
}

async function load(): Promise<Built> {
  const files = ["src/cli/run-cli.js", "src/cli/groups/all.js", "journal/index.js"];
  const [cli, all, journal] = await Promise.all(files.map((file) => import(join(dist, file))));
  return { ...cli, ...all, ...journal } as Built;
}

let loaded: Promise<Built> | undefined;

/** Once: each `import()` asks the thread of the loader, even for what is there. */
const built = (): Promise<Built> => (loaded ??= load());

/**
 * The command's own entry, as it is built, in this process: a start of Node
 * costs ten times what a recovery does, and thousands of states need four
 * starts each. One at a time: what it prints is caught by taking stdout away.
 */
export const inProcess: Command = async (...args) => {
  const { runCli, commands } = await built();
  const printed = { stdout: "", stderr: "" };
  const { stdout, stderr } = process;
  const writes = { stdout: stdout.write.bind(stdout), stderr: stderr.write.bind(stderr) };
  const caught =
    (stream: keyof typeof printed) =>
    (text: string | Uint8Array): boolean => {
      printed[stream] += typeof text === "string" ? text : Buffer.from(text).toString();
      return true;
    };
  stdout.write = caught("stdout");
  stderr.write = caught("stderr");
  try {
    return { code: await runCli(args, commands), ...printed };
  } finally {
    stdout.write = writes.stdout;
    stderr.write = writes.stderr;
  }
};

/** Walks the whole chain of a journal and returns its length. */
export async function verifyJournal(dir: string): Promise<number> {
  const { openJournal } = await built();
  await using journal = await openJournal(dir, { create: false });
  return (await journal.verify()).records;
}
