import type { Terminal } from "./terminal.ts";

const EVERY_MS = 200;
const MIB = 1024 * 1024;

/** A status line with the share of bytes, rate and the time that is left; it does not cost more than the work that it tells of. */
export function progressMeter(terminal: Terminal, what: string): (done: number, total: number) => void {
  const start = performance.now();
  let next = start + EVERY_MS;
  return (done, total) => {
    const now = performance.now();
    if (now < next) return;
    next = now + EVERY_MS;
    const seconds = (now - start) / 1000;
    const left = done === 0 ? "?" : Math.ceil((seconds * (total - done)) / done);
    const percent = total === 0 ? 100 : Math.floor((done * 100) / total);
    terminal.status(`${what} ... ${percent} %, ${Math.round(done / seconds / MIB)} MiB/s, ${left} s left`);
  };
}
