/** The process behind `launcher.ts`: plain JavaScript and nothing imported, because a fork copies what there is. */
import { execFile } from "node:child_process";

const LARGEST_OUTPUT = 256 * 1024 * 1024;

process.on("message", ({ id, program, args, env, cwd }) => {
  const child = execFile(program, args, { env, cwd, maxBuffer: LARGEST_OUTPUT }, (error, stdout, stderr) => {
    const hasEnded = error === null || child.exitCode !== null || child.signalCode !== null;
    process.send(
      hasEnded
        ? { id, ended: { code: child.exitCode, signal: child.signalCode, stdout, stderr } }
        : { id, failed: { message: error.message, code: error.code } },
    );
  });
});
// Ctrl-C is for whoever it works for, and ends it by letting go.
process.on("SIGINT", () => undefined);
process.on("disconnect", () => process.exit());
