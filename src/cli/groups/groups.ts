/**
 * The commands that share a bundle. A process of the command reads and evaluates
 * one bundle whole, and to do that for all there is takes longer than to list
 * the snapshots of an image: those that need the same are together.
 */
export const GROUPS = {
  /** They read an image and its record. */
  record: ["list", "history", "show", "tree", "blame", "status"],
  /** They read what a guest sees. */
  guest: ["export", "map", "diff", "send", "serve"],
  check: ["check"],
  write: [
    "create",
    "revert",
    "delete",
    "rename",
    "run",
    "undo",
    "hold",
    "release",
    "prune",
    "receive",
    "clone",
    "recover",
    "repair",
    "journal",
    "snapshot",
  ],
} as const;

export type Group = keyof typeof GROUPS;

export type CommandOf<Of extends Group> = (typeof GROUPS)[Of][number];

/** Where all commands are: what is no command of a group is answered by it, the help included. */
export const BUNDLE_OF_ALL = "command";

export const bundleOf = (group: Group): string => `${BUNDLE_OF_ALL}-${group}`;

/** `-r`, also as in `-qr`. Of `check` it writes; whatever else looks like it is answered by that bundle as well. */
const REPAIRS = /^(-[^-]*r|--r)/;

/** The bundle for a command line. The version is in each: the smallest says it. */
export function bundleFor([command, ...words]: readonly string[]): string {
  if (command === "--version" || command === "-V") return bundleOf("check");
  if (command === "check" && words.some((word) => REPAIRS.test(word))) return bundleOf("write");
  for (const [group, commands] of Object.entries(GROUPS) as [Group, readonly string[]][]) {
    if (command !== undefined && commands.includes(command)) return bundleOf(group);
  }
  return BUNDLE_OF_ALL;
}
