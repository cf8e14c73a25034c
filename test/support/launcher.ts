/**
 * Starts programs from a small process beside this one. To start a program the
 * kernel copies the page tables of whoever asks for it: from a test's process of
 * 300 MiB that takes ten times what it takes `qemu-img` to check an image.
 */
import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";

/** How a program ended. */
export interface Ended {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface Launch {
  readonly program: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
}

interface Answer {
  readonly id: number;
  readonly ended?: Ended;
  /** It printed too much. */
  readonly failed?: { readonly message: string; readonly code: unknown };
}

interface Waiting {
  readonly resolve: (ended: Ended) => void;
  readonly reject: (error: Error) => void;
}

class Launcher {
  readonly #process: ChildProcess;
  readonly #waiting = new Map<number, Waiting>();
  #last = 0;

  constructor() {
    this.#process = fork(join(import.meta.dirname, "launcher-process.mjs"), {
      // None of this process's own: a test's worker has many, and some make a process large.
      execArgv: [],
      serialization: "advanced",
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    this.#process.on("message", (answer: Answer) => this.#hear(answer));
    this.#process.on("exit", (code, signal) => this.#lose(code ?? signal));
    // It ends with this process, and does not keep it.
    this.#process.unref();
    this.#process.channel?.unref();
  }

  get isAlive(): boolean {
    return this.#process.connected;
  }

  launch(launch: Launch): Promise<Ended> {
    return new Promise((resolve, reject) => {
      const id = (this.#last += 1);
      this.#waiting.set(id, { resolve, reject });
      this.#process.channel?.ref();
      this.#process.send({ id, ...launch }, (error) => {
        if (error !== null) this.#take(id)?.reject(error);
      });
    });
  }

  #hear({ id, ended, failed }: Answer): void {
    const waiting = this.#take(id);
    if (ended !== undefined) waiting?.resolve(ended);
    else waiting?.reject(Object.assign(new Error(failed?.message), { code: failed?.code }));
  }

  #lose(how: unknown): void {
    for (const id of this.#waiting.keys()) {
      this.#take(id)?.reject(new Error(`the process that starts programs ended with ${String(how)}`));
    }
  }

  #take(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (this.#waiting.size === 0) this.#process.channel?.unref();
    return waiting;
  }
}

let launcher: Launcher | undefined;

/** Runs a program to its end. Rejects when that cannot be told. */
export function launch(program: Launch): Promise<Ended> {
  if (launcher?.isAlive !== true) launcher = new Launcher();
  return launcher.launch(program);
}
