import { type Ended, launch } from "./launcher.ts";

export type { Ended } from "./launcher.ts";

export interface ProgramOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** Runs a program to its end, however it ends. */
export function run(program: string, args: readonly string[], options: ProgramOptions = {}): Promise<Ended> {
  const env = { ...process.env, LC_ALL: "C", ...options.env };
  return launch({ program, args, env, cwd: options.cwd ?? process.cwd() });
}

/** Runs a program that has to succeed. */
export async function must(
  program: string,
  args: readonly string[],
  options: ProgramOptions = {},
): Promise<string> {
  const { code, stdout, stderr } = await run(program, args, options);
  if (code !== 0) throw new Error(`${program} ${args.join(" ")} ended with ${code}:\n${stderr}${stdout}`);
  return stdout;
}

/** Copies files or directories, holes included, with their paths' last names. */
export async function copyInto(sources: readonly string[], directory: string): Promise<void> {
  await must("cp", ["-a", "--reflink=auto", "--sparse=always", "--", ...sources, directory]);
}
