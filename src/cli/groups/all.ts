import type { Commands } from "../run-cli.ts";
import type { CommandOf, Group } from "./groups.ts";
import { commands as guest } from "./guest.ts";
import { commands as record } from "./record.ts";
import { commands as write } from "./write.ts";

/** In the order of the help. */
export const commands: Commands<CommandOf<Group>> = {
  create: write.create,
  revert: write.revert,
  delete: write.delete,
  rename: write.rename,
  run: write.run,
  undo: write.undo,
  hold: write.hold,
  release: write.release,
  prune: write.prune,
  list: record.list,
  export: guest.export,
  map: guest.map,
  check: write.check,
  diff: guest.diff,
  send: guest.send,
  receive: write.receive,
  clone: write.clone,
  serve: guest.serve,
  recover: write.recover,
  repair: write.repair,
  history: record.history,
  show: record.show,
  tree: record.tree,
  blame: record.blame,
  status: record.status,
  journal: write.journal,
  snapshot: write.snapshot,
};
