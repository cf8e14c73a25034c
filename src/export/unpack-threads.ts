import { Worker } from "node:worker_threads";
import type { UnpackJob, UnpackedJob } from "./unpack-job.ts";

/** A thread that has had nothing to do for so long gives its 25 MiB back. */
const IDLE_MS = 5000;
/** Jobs of a thread: one that it works on, and one so that it need not wait for the next. */
const MOST_LOAD = 2;

type Answer = (done: UnpackedJob | undefined) => void;

/** A thread, and who waits for it. */
class UnpackThread {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Answer>();
  #idle: NodeJS.Timeout | undefined;
  #hasAnswered = false;

  /** `onEnd` hears whether it ever did anything. */
  constructor(program: string, idleMs: number, onEnd: (thread: UnpackThread, hasAnswered: boolean) => void) {
    // What this process was started with, a loader say, is not for the thread.
    this.#worker = new Worker(program, { execArgv: [] });
    this.#worker.unref();
    this.#worker.on("message", (done: UnpackedJob) => {
      this.#hasAnswered = true;
      this.#answer(done.id, done);
      if (this.#waiting.size > 0) return;
      this.#worker.unref();
      this.#idle = setTimeout(() => void this.#worker.terminate(), idleMs).unref();
    });
    this.#worker.on("error", () => undefined);
    this.#worker.on("exit", () => {
      clearTimeout(this.#idle);
      onEnd(this, this.#hasAnswered);
      for (const id of this.#waiting.keys()) this.#answer(id, undefined);
    });
  }

  get load(): number {
    return this.#waiting.size;
  }

  /** Undefined when the thread ended meanwhile. */
  run(job: UnpackJob): Promise<UnpackedJob | undefined> {
    clearTimeout(this.#idle);
    this.#worker.ref();
    return new Promise((resolve) => {
      this.#waiting.set(job.id, resolve);
      this.#worker.postMessage(job);
    });
  }

  #answer(id: number, done: UnpackedJob | undefined): void {
    this.#waiting.get(id)?.(done);
    this.#waiting.delete(id);
  }
}

/** Unpacks on at most `most` other threads, which begin with their first job. */
export class UnpackThreads {
  readonly #program: string;
  readonly #most: number;
  readonly #idleMs: number;
  #threads: readonly UnpackThread[] = [];
  #isBroken = false;
  #jobs = 0;

  /** `program` is the file that a thread runs: an absolute path. */
  constructor(program: string, most: number, idleMs = IDLE_MS) {
    this.#program = program;
    this.#most = most;
    this.#idleMs = idleMs;
  }

  /** Fills the job's `content`. Undefined when all threads have enough to do: whoever asks has to do it then. */
  async run(job: Omit<UnpackJob, "id">): Promise<UnpackedJob | undefined> {
    const thread = this.#free();
    if (thread === undefined) return undefined;
    this.#jobs += 1;
    return thread.run({ ...job, id: this.#jobs });
  }

  #free(): UnpackThread | undefined {
    if (this.#isBroken) return undefined;
    const [least] = this.#threads.toSorted((a, b) => a.load - b.load);
    if (least?.load === 0) return least;
    if (this.#threads.length < this.#most) {
      try {
        return this.#start();
      } catch {
        // Where threads are not allowed, nothing is lost but time.
        this.#isBroken = true;
        return undefined;
      }
    }
    return least !== undefined && least.load < MOST_LOAD ? least : undefined;
  }

  #start(): UnpackThread {
    const started = new UnpackThread(this.#program, this.#idleMs, (ended, hasAnswered) => {
      this.#threads = this.#threads.filter((thread) => thread !== ended);
      // One that ends before it did anything would do so again.
      if (!hasAnswered) this.#isBroken = true;
    });
    this.#threads = [...this.#threads, started];
    return started;
  }
}
