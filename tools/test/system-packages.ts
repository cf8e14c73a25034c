import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/** Programs that the tests run, and the package that brings each, by package manager. */
const PROGRAMS = [
  {
    program: "qemu-img",
    packages: {
      "apt-get": "qemu-utils",
      dnf: "qemu-img",
      apk: "qemu-img",
      pacman: "qemu-img",
      zypper: "qemu-tools",
    },
  },
  {
    program: "qemu-io",
    packages: {
      "apt-get": "qemu-utils",
      dnf: "qemu-img",
      apk: "qemu-img",
      pacman: "qemu-img",
      zypper: "qemu-tools",
    },
  },
  {
    program: "qemu-system-x86_64",
    packages: {
      "apt-get": "qemu-system-x86",
      dnf: "qemu-system-x86-core",
      apk: "qemu-system-x86_64",
      pacman: "qemu-system-x86",
      zypper: "qemu-x86",
    },
  },
  {
    program: "strace",
    packages: { "apt-get": "strace", dnf: "strace", apk: "strace", pacman: "strace", zypper: "strace" },
  },
  {
    program: "mkfs.ext4",
    packages: {
      "apt-get": "e2fsprogs",
      dnf: "e2fsprogs",
      apk: "e2fsprogs",
      pacman: "e2fsprogs",
      zypper: "e2fsprogs",
    },
  },
  {
    program: "debugfs",
    packages: {
      "apt-get": "e2fsprogs",
      dnf: "e2fsprogs",
      apk: "e2fsprogs-extra",
      pacman: "e2fsprogs",
      zypper: "e2fsprogs",
    },
  },
  {
    program: "nbdinfo",
    packages: { "apt-get": "libnbd-bin", dnf: "libnbd", apk: "libnbd", pacman: "libnbd", zypper: "libnbd" },
  },
  {
    program: "nbdsh",
    packages: {
      "apt-get": "python3-libnbd",
      dnf: "python3-libnbd",
      apk: "py3-libnbd",
      pacman: "libnbd",
      zypper: "python3-libnbd",
    },
  },
  {
    program: "fio",
    packages: { "apt-get": "fio", dnf: "fio", apk: "fio", pacman: "fio", zypper: "fio" },
  },
  {
    program: "restic",
    packages: { "apt-get": "restic", dnf: "restic", apk: "restic", pacman: "restic", zypper: "restic" },
  },
] as const;

type Manager = keyof (typeof PROGRAMS)[number]["packages"];

const INSTALL: Readonly<Record<Manager, readonly string[]>> = {
  "apt-get": ["install", "-y", "-q", "--no-install-recommends"],
  dnf: ["install", "-y", "-q"],
  apk: ["add", "-q"],
  pacman: ["-S", "--noconfirm", "--needed"],
  zypper: ["--non-interactive", "install"],
};

function isInstalled(program: string): boolean {
  return (process.env["PATH"] ?? "").split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** mkfs and debugfs live where only root's PATH looks. */
function widenPath(): void {
  process.env["PATH"] = [process.env["PATH"] ?? "", "/usr/sbin", "/sbin"].join(delimiter);
}

function asRoot(command: string, args: readonly string[]): boolean {
  const root = process.getuid?.() === 0;
  const [program, ...rest] = root ? [command, ...args] : ["sudo", "-n", command, ...args];
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  return spawnSync(program ?? command, rest, { stdio: ["ignore", "ignore", "inherit"], env }).status === 0;
}

/**
 * Installs what is missing through the system's package manager. Returns the
 * programs that are still missing, after one line that says what to do.
 */
export function ensureSystemPackages(): readonly string[] {
  widenPath();
  const missing = PROGRAMS.filter(({ program }) => !isInstalled(program));
  if (missing.length === 0) return [];
  const manager = (Object.keys(INSTALL) as Manager[]).find(isInstalled);
  if (manager !== undefined) {
    const packages = [...new Set(missing.map((entry) => entry.packages[manager]))];
    console.error(
      `installing ${packages.join(", ")} with ${manager} (the tests compare with the real programs)`,
    );
    if (manager === "apt-get") asRoot(manager, ["update", "-q"]);
    asRoot(manager, [...INSTALL[manager], ...packages]);
  }
  const still = PROGRAMS.filter(({ program }) => !isInstalled(program));
  if (still.length > 0) {
    const packages = [...new Set(still.map((entry) => entry.packages["apt-get"]))].join(" ");
    console.error(
      `MISSING: ${still.map(({ program }) => program).join(", ")}; tests that need them will fail. Install them first (Debian: apt-get install ${packages}).`,
    );
  }
  return still.map(({ program }) => program);
}
