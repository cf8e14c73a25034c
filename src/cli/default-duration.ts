/** `--recoverable` of `delete` takes its duration behind `=` only: what follows it may be a snapshot. */
export const withDefaultDuration = (args: readonly string[]): string[] =>
  args[0] === "delete"
    ? args.map((word) => (word === "--recoverable" ? "--recoverable=7d" : word))
    : [...args];
