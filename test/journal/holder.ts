/** A process that holds a journal: `holder.ts DIR MILLISECONDS`. Says so on stdout, and lets go after that time. */
import { hostname } from "node:os";
import { setTimeout } from "node:timers/promises";
import { openJournal } from "../../journal/index.ts";

const [dir = "", milliseconds = "0"] = process.argv.slice(2);
const journal = await openJournal(dir, {
  create: true,
  holder: { host: hostname(), pid: process.pid, program: "holder" },
});
await journal.begin("held");
console.log("holding");
await setTimeout(Number(milliseconds));
await journal.close();
