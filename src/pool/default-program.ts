/** Name of the running script, for the record. */
export function defaultProgram(): string {
  return process.argv[1]?.split("/").at(-1) ?? "node";
}
