/** Seconds as people say them. */
export function duration(seconds: number): string {
  if (seconds < 100) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 100 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A log gets a line now and then, a terminal one that is replaced. */
const LOG_EVERY_MS = 60_000;
const CLEAR_LINE = "\r\u001B[2K";

/** How far a search is, and when it will be done, on stderr. */
export class Status {
  readonly #goal: number;
  readonly #start: number;
  readonly #began = performance.now();
  readonly #isLive = process.stderr.isTTY && process.env["TERM"] !== "dumb";
  #shown = performance.now();

  /** `start` of `goal` states were seen before. */
  constructor(goal: number, start: number) {
    this.#goal = goal;
    this.#start = start;
  }

  show(states: number, cases: number): void {
    const now = performance.now();
    if (!this.#isLive && now - this.#shown < LOG_EVERY_MS) return;
    this.#shown = now;
    const rate = (states - this.#start) / ((now - this.#began) / 1000);
    const left = Math.max(0, this.#goal - states) / rate;
    const percent = ((100 * states) / this.#goal).toFixed(1);
    const text = `${states.toLocaleString("en-US")} states (${percent} %) of ${cases} cases, ${rate.toFixed(0)} a second, ${duration(left)} left`;
    process.stderr.write(this.#isLive ? CLEAR_LINE + text : `${text}\n`);
  }

  clear(): void {
    if (this.#isLive) process.stderr.write(CLEAR_LINE);
  }
}
