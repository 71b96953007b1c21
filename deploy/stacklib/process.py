"""One process of the stack: started, recorded in a file, recognised again, signalled.

A process is known by its id, the time it started and the machine's boot, all from the kernel. So
a record that outlived its process never leads to another process that was given the same id.

A process records itself before it becomes the server: whatever happens to the program that
started it, there is never a server that nobody knows of. It leads a session of its own, so that
it outlives that program and does not see the interrupt key of its terminal.
"""

import os
import signal
import time
from pathlib import Path

POLL_S = 0.02

# Arguments: the record, what else to record, and the server's own. The id and the start time (the
# 22nd field of the kernel's line) stay what they are when the shell becomes the server.
LAUNCHER = """
record=$1 more=$2
shift 2
start_ticks() { echo "${22}"; }
read -r stat </proc/$$/stat
echo "$$ $(start_ticks $stat) $more" >"$record"
exec "$@"
"""


def boot_id():
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def stat(pid):
    """(state letter, start time in clock ticks) of a process, or None if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return fields[0], int(fields[19])


def has_other_threads(pid):
    """A killed process is called dead as soon as its first thread is; until the others have gone
    as well, its files are locked and its ports taken."""
    try:
        return len(os.listdir(f"/proc/{pid}/task")) > 1
    except OSError:
        return False


def reap(pid):
    """Takes a dead child's exit status, so that no zombie is left; others' children are theirs."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


class Process:
    """A process that runs or ran. `mark` stands for what it was started with."""

    def __init__(self, pid, start_ticks, boot, mark):
        self.pid = int(pid)
        self.start_ticks = int(start_ticks)
        self.boot = boot
        self.mark = mark

    @classmethod
    def spawn(cls, argv, record, log, mark):
        """Starts a program, recorded in `record`, its output appended to `log`."""
        boot = boot_id()
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        launch = ["sh", "-c", LAUNCHER, "launcher", str(record), f"{boot} {mark}", *argv]
        pid = os.posix_spawn(
            "/bin/sh", launch, os.environ, setsid=True,
            setsigmask=[], setsigdef=[signal.SIGPIPE, signal.SIGINT],
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                          (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o600),
                          (os.POSIX_SPAWN_DUP2, 1, 2)])
        return cls(pid, stat(pid)[1], boot, mark)

    @classmethod
    def load(cls, record):
        """The process recorded in a file, which may be long gone; None without a usable record."""
        try:
            return cls(*Path(record).read_text().split())
        except (FileNotFoundError, ValueError, TypeError):
            return None

    @property
    def state(self):
        """'running', 'paused' or 'gone'."""
        now = stat(self.pid) if self.boot == boot_id() else None
        if now is None or now[1] != self.start_ticks:
            return "gone"
        if now[0] in "ZX" and not has_other_threads(self.pid):
            reap(self.pid)
            return "gone"
        return "paused" if now[0] in "Tt" else "running"

    def signal(self, number):
        """False if the process is gone; nobody else is ever signalled."""
        if self.state == "gone":
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def wait(self, state, timeout_s):
        """False if the process is not in that state by then."""
        deadline = time.monotonic() + timeout_s
        while self.state != state:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True
