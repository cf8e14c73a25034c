/** What several commands say of themselves. */
export const IMAGES = ["<image...>", "qcow2 images; several are changed together or not at all"] as const;

export const SELECTING = [
  "<snapshot>",
  "exact name, or id:N (name:TEXT for a name that begins with id: or name:)",
] as const;

export const examples = (...lines: readonly string[]): string =>
  `\nExamples:\n${lines.map((line) => `  $ qcowal ${line}`).join("\n")}`;
