import { vi } from "vitest";
import { commands } from "../../src/cli/groups/all.ts";
import { runCli } from "../../src/cli/run-cli.ts";

export interface Answer {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The command in this process: a hundred starts of node would take a minute. One at a time. */
export async function qcowal(...args: readonly string[]): Promise<Answer> {
  const said = { stdout: "", stderr: "" };
  const spies = (["stdout", "stderr"] as const).map((stream) =>
    vi.spyOn(process[stream], "write").mockImplementation((text) => {
      said[stream] += String(text);
      return true;
    }),
  );
  try {
    return { code: await runCli(args, commands), ...said };
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}

/** What a command that has to succeed prints as JSON. */
export async function qcowalJson<T>(...args: readonly string[]): Promise<T> {
  const { code, stdout, stderr } = await qcowal(...args, "--json");
  if (code !== 0) throw new Error(`qcowal ${args.join(" ")} ended with ${code}:\n${stderr}`);
  return JSON.parse(stdout) as T;
}
