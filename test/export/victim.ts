/** Receives a stream and kills itself at a chosen report of progress: `victim.ts TARGET STREAM PHASE COUNT`. */
import { receiveStream } from "../../src/index.ts";

const [target = "", stream = "", phase, count] = process.argv.slice(2);
let seen = 0;
await receiveStream(target, stream, {
  onProgress: (now) => {
    if (now === phase) seen += 1;
    if (now === phase && seen === Number(count)) process.kill(process.pid, "SIGKILL");
  },
});
