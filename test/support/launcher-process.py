"""
The process behind `launcher.ts`: a program to start in each line that it reads, how it ended in each that it writes.

Python starts a program without a copy of its own page tables (vfork). Node makes one, which takes a
third of the time that `qemu-img` takes to check a small image.
"""

import errno
import json
import os
import signal
import subprocess
import sys
import threading

ONE_LINE_AT_A_TIME = threading.Lock()


def text(output):
    return output.decode(errors="replace")


def ended(task):
    program = subprocess.run(
        [task["program"], *task["args"]],
        env=task["env"],
        cwd=task["cwd"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    killed = program.returncode < 0
    return {
        "code": None if killed else program.returncode,
        "signal": signal.Signals(-program.returncode).name if killed else None,
        "stdout": text(program.stdout),
        "stderr": text(program.stderr),
    }


def answer(line):
    task = json.loads(line)
    try:
        said = {"ended": ended(task)}
    except Exception as error:
        code = errno.errorcode.get(getattr(error, "errno", None))
        said = {"failed": {"message": f"{task['program']}: {error}", "code": code}}
    with ONE_LINE_AT_A_TIME:
        sys.stdout.write(json.dumps({"id": task["id"], **said}) + "\n")
        sys.stdout.flush()


# Ctrl-C is for whoever it works for, and ends it by letting go. What it starts hears it.
signal.signal(signal.SIGINT, lambda *_: None)
for line in sys.stdin:
    threading.Thread(target=answer, args=(line,), daemon=True).start()
# Programs that nobody waits for any more are not waited for here.
os._exit(0)
