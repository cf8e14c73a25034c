/**
 * A process that appends to a journal without a pause: `appender.ts DIR`. Says
 * on stdout how many transactions it has ended, in lines.
 */
import { hostname } from "node:os";
import { openJournal } from "../../journal/index.ts";

const [dir = ""] = process.argv.slice(2);
const journal = await openJournal(dir, {
  create: true,
  holder: { host: hostname(), pid: process.pid, program: "appender" },
});
// Random, so that LevelDB cannot press it and has to begin new files all the time.
const noise = crypto.getRandomValues(new Uint8Array(48 * 1024));
for (let count = 1; ; count += 1) {
  const transaction = await journal.begin({ count });
  crypto.getRandomValues(noise);
  for (let part = 0; part < 4; part += 1) await journal.part(transaction, noise.subarray(part * 11));
  await journal.prepare(transaction, null);
  await journal.commit(transaction);
  await journal.settle(transaction);
  process.stdout.write(`${count}\n`);
}
