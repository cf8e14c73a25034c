import type { Terminal } from "../terminal.ts";

const STATUS_EVERY_MS = 100;

/** A line of progress that does not cost more than the work that it tells of. */
export function percentOf(terminal: Terminal, what: string): (done: number, total: number) => void {
  let next = 0;
  return (done, total) => {
    const now = performance.now();
    if (now < next || total === 0) return;
    next = now + STATUS_EVERY_MS;
    terminal.status(`${what} ... ${Math.floor((done * 100) / total)} %`);
  };
}
