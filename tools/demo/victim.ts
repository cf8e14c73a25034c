/**
 * A service that embeds qcowal and dies by SIGKILL while it works:
 * `victim.ts JOURNAL OPERATION STEP`. The operation is JSON.
 */
import { type Operation, openPool } from "../../src/index.ts";

const [journal = "", operation = "", step = ""] = process.argv.slice(2);
const pool = await openPool(journal, { program: "victim" });
await pool.run([JSON.parse(operation) as Operation], {
  reason: "doomed",
  onProgress: (event) => {
    if (event.step === step) process.kill(process.pid, "SIGKILL");
  },
});
throw new Error(`there was no step ${step} to die in`);
