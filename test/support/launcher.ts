/**
 * Starts programs from a small process beside this one. For Node to start a program
 * the kernel copies its page tables: from a test's process of 300 MiB that takes ten
 * times what it takes `qemu-img` to check an image.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";

/** By its place: what PATH has may be a script that looks for a Python first. It comes with the tests' package for nbdsh. */
const PYTHON = "/usr/bin/python3";

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
  /** It could not be started. */
  readonly failed?: { readonly message: string; readonly code: unknown };
}

interface Waiting {
  readonly resolve: (ended: Ended) => void;
  readonly reject: (error: Error) => void;
}

class Launcher {
  readonly #process: ChildProcessByStdio<Writable, Readable, null>;
  readonly #waiting = new Map<number, Waiting>();
  #last = 0;

  constructor() {
    this.#process = spawn(
      PYTHON,
      ["-I", "-S", "-X", "utf8", join(import.meta.dirname, "launcher-process.py")],
      {
        stdio: ["pipe", "pipe", "inherit"],
      },
    );
    createInterface(this.#process.stdout).on("line", (line) => this.#hear(JSON.parse(line) as Answer));
    this.#process.on("error", (error) => this.#lose(`could not be started: ${error.message}`));
    this.#process.on("exit", (code, signal) => this.#lose(`ended with ${code ?? signal}`));
    this.#process.stdin.on("error", () => undefined);
    // It ends with this process, and does not keep it.
    this.#process.unref();
    this.#keep(false);
  }

  get isAlive(): boolean {
    return (
      this.#process.pid !== undefined && this.#process.exitCode === null && this.#process.signalCode === null
    );
  }

  launch(launch: Launch): Promise<Ended> {
    return new Promise((resolve, reject) => {
      const id = (this.#last += 1);
      this.#waiting.set(id, { resolve, reject });
      this.#keep(true);
      this.#process.stdin.write(`${JSON.stringify({ id, ...launch })}\n`);
    });
  }

  /** Whether this process goes on until it has heard from it. */
  #keep(isWanted: boolean): void {
    for (const stream of [this.#process.stdin, this.#process.stdout]) {
      if (!(stream instanceof Socket)) continue;
      if (isWanted) stream.ref();
      else stream.unref();
    }
  }

  #hear({ id, ended, failed }: Answer): void {
    const waiting = this.#take(id);
    if (ended !== undefined) waiting?.resolve(ended);
    else waiting?.reject(Object.assign(new Error(failed?.message), { code: failed?.code }));
  }

  #lose(how: string): void {
    for (const id of this.#waiting.keys()) {
      this.#take(id)?.reject(new Error(`the process that starts programs (${PYTHON}) ${how}`));
    }
  }

  #take(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (this.#waiting.size === 0) this.#keep(false);
    return waiting;
  }
}

let launcher: Launcher | undefined;

/** Runs a program to its end. Rejects when that cannot be told. */
export function launch(program: Launch): Promise<Ended> {
  if (launcher?.isAlive !== true) launcher = new Launcher();
  return launcher.launch(program);
}
