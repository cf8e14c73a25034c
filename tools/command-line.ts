/** What the tools that search have in common at a shell. */
import { parseArgs } from "node:util";

/** Options as they were given, by their names. */
export type Given<Name extends string> = Readonly<Partial<Record<Name, string>>>;

/**
 * Runs a tool whose options each take a value, and prints `help` with `--help`
 * and for misuse, which is a TypeError. It ends with 2 then, with 1 for any other
 * failure.
 */
export async function runTool<const Name extends string>(
  help: string,
  names: readonly Name[],
  main: (given: Given<Name>) => Promise<void>,
): Promise<void> {
  try {
    const given = optionsNamed(names);
    if (given === undefined) console.log(help);
    else await main(given);
  } catch (error) {
    const isMisuse = error instanceof TypeError;
    console.error(error instanceof Error ? error.message : error);
    if (isMisuse) console.error("\n" + help);
    process.exitCode = isMisuse ? 2 : 1;
  }
}

/** Undefined when help was asked for. @throws TypeError for what is not one of them */
function optionsNamed<Name extends string>(names: readonly Name[]): Given<Name> | undefined {
  const options = Object.fromEntries(names.map((name) => [name, { type: "string" as const }]));
  const parsed = parseArgs({ options: { ...options, help: { type: "boolean", short: "h" } } });
  const values: Readonly<Record<string, unknown>> = parsed.values;
  if (values["help"] === true) return undefined;
  const given: Partial<Record<Name, string>> = {};
  for (const name of names) {
    const value = values[name];
    if (typeof value === "string") given[name] = value;
  }
  return given;
}

/** The value of an option. @throws TypeError when it is no whole number */
export function wholeNumber(text: string | undefined, name: string, fallback: number): number {
  if (text === undefined) return fallback;
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) {
    throw new TypeError(`--${name} takes a whole number, not ${JSON.stringify(text)}`);
  }
  return value;
}
