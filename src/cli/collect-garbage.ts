import { setImmediate, setTimeout } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** What small images hold is not worth the time. */
const MUCH_BYTES = 32 * 1024 * 1024;

/**
 * Frees what nobody holds any more before as much of it is read again. By itself
 * the engine waits until there is more garbage than there may be memory.
 */
export async function collectGarbage(): Promise<void> {
  if (process.memoryUsage().arrayBuffers < MUCH_BYTES) return;
  // What has just returned is still on the stack of its promise.
  await setImmediate();
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  collect();
  // The memory itself is given back by another thread, which on a busy machine has to get its turn.
  await setTimeout(150);
}
