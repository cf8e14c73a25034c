import { hostname, userInfo } from "node:os";

/** Who runs an operation. */
export interface Actor {
  readonly user: string;
  readonly host: string;
  readonly pid: number;
  readonly program: string;
  /** A name the caller adds: a person, a job, a service. */
  readonly name?: string;
}

export function currentActor(program: string, name: string | undefined): Actor {
  return {
    user: userName(),
    host: hostname(),
    pid: process.pid,
    program,
    ...(name === undefined ? {} : { name }),
  };
}

const names = new Map<number | undefined, string>();

/** Looking through the system's users takes longer than a small operation does; a process may change its uid. */
function userName(): string {
  const uid = process.geteuid?.();
  const name = names.get(uid) ?? lookUpUserName();
  names.set(uid, name);
  return name;
}

/** A container's uid may have no name: that must not keep anyone from a snapshot. */
function lookUpUserName(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.() ?? "unknown"}`;
  }
}
