import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { onTestFinished } from "vitest";

const PROGRAM = "qemu-system-x86_64";

export interface VmOptions {
  /** Images, opened as qcow2; the first is called `disk0` in commands, the second `disk1`, and so on. */
  readonly disks: readonly string[];
  /** Further arguments. */
  readonly args?: readonly string[];
}

interface Reply {
  readonly return?: unknown;
  readonly error?: { readonly desc: string };
}

/** A real, tiny virtual machine: emulated, stopped, without a guest, spoken to over its standard streams. */
export class Vm implements AsyncDisposable {
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;
  readonly #exited: Promise<unknown>;

  private constructor(child: ChildProcessWithoutNullStreams) {
    this.#process = child;
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    this.#exited = once(child, "close");
  }

  /** @throws Error with what qemu printed, when it does not start */
  static async start({ disks, args = [] }: VmOptions): Promise<Vm> {
    const drives = disks.flatMap((path, index) => [
      "-drive",
      `if=virtio,id=disk${index},driver=qcow2,file.driver=file,file.filename=${path.replaceAll(",", ",,")}`,
    ]);
    const machine = "-machine pc -accel tcg -m 4 -nodefaults -no-user-config -display none -S -qmp stdio";
    const child = spawn(PROGRAM, [...machine.split(" "), ...drives, ...args]);
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
    const vm = new Vm(child);
    onTestFinished(() => void child.kill("SIGKILL"));
    // A program that is missing ends like one that fails.
    child.on("error", (error) => (said += String(error)));
    // Nobody reads what is written to one that has ended; that it has is seen by its silence.
    child.stdin.on("error", () => undefined);
    try {
      await vm.#read();
      await vm.#execute("qmp_capabilities");
      return vm;
    } catch (cause) {
      child.kill();
      await vm.#exited;
      throw new Error(said === "" ? String(cause) : said, { cause });
    }
  }

  /** A command of the human monitor, as in `savevm NAME`. Returns what it prints. */
  async monitor(command: string): Promise<string> {
    const output = await this.#execute("human-monitor-command", { "command-line": command });
    if (typeof output !== "string" || /^Error|failed/m.test(output)) {
      throw new Error(`${command}: ${String(output)}`);
    }
    return output;
  }

  /** A command of qemu-io on a disk of the running machine, as in `write -P 1 0 64k`. */
  io(disk: number, command: string): Promise<string> {
    return this.monitor(`qemu-io disk${disk} "${command}"`);
  }

  /** Eight bytes of the guest's memory. */
  async memory(address: number): Promise<bigint> {
    const text = await this.monitor(`xp /1gx ${address}`);
    return BigInt(/: (0x[0-9a-f]+)/.exec(text)?.[1] ?? "-1");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#execute("quit");
    await this.#exited;
  }

  async #execute(command: string, parameters: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    this.#process.stdin.write(`${JSON.stringify({ execute: command, arguments: parameters })}\n`);
    for (;;) {
      const reply = await this.#read();
      if (reply === undefined) throw new Error(`${command}: ${PROGRAM} ended`);
      if (reply.error !== undefined) throw new Error(`${command}: ${reply.error.desc}`);
      // Anything else is an event.
      if ("return" in reply) return reply.return;
    }
  }

  async #read(): Promise<Reply | undefined> {
    for (;;) {
      const { done, value } = await this.#lines.next();
      if (done === true) return undefined;
      // Commands of qemu-io print to the same stream.
      if (value.startsWith("{")) return JSON.parse(value) as Reply;
    }
  }
}

/** Arguments that put eight bytes into the memory of a machine that has not run yet. */
export const withMemory = (address: number, value: bigint): string[] => [
  "-device",
  `loader,addr=${address},data=${value},data-len=8`,
];
