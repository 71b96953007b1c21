"""What the three servers of a stack have in common.

A service lives in a folder of its own below the stack's: its configuration, its data, its log and
`process`, the record of the process started last. The record stays when the process dies by
itself or is killed (state 'dead'), and goes when it is stopped (state 'stopped').

A subclass says how to check, prepare, run and ask its server; this class does the rest.
"""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import time

from . import ports
from .errors import StackError
from .process import POLL_S, Process

LOG_KEPT_BYTES = 16 << 20
LOG_SHOWN_LINES = 15
FIRST_SIGN = "ERROR|Error|FATAL|Exception"
INSTALL = "install it with `deploy/install-deps run`"

HINTS = (
    (r"No space left on device|[Dd]isk (is )?full|out of disk space|(errno:|error) 28\b",
     "free some disk space"),
    (r"Address already in use", "another program took the port: --port-base chooses others"),
    (r"reserve enough space|[Cc]annot allocate memory|insufficient memory|OutOfMemoryError",
     "give it less memory: --kafka-heap, --mysql-pool"),
    (r"maximum heap", "correct --kafka-heap"),
    (r"unknown (variable|option)|Bad directive|ConfigException|Invalid value|wrong number of arg",
     "correct the --{name}-option given to `start` ('' drops all)"),
    (r"[Uu]nable to lock|acquire lock on file", "another server works on the same data: stop it"),
)


def program(*names):
    """The path of the first of these programs that exists; servers may be in sbin."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    return next(filter(None, (shutil.which(name, path=path) for name in names)), None)


@contextlib.contextmanager
def complete(path):
    """Yields a new folder that becomes `path` only if all goes well: what has that name is whole.
    The new one is this process's own; one left by a process that was killed is removed."""
    for left in path.parent.glob(f"{path.name}.new-*"):
        shutil.rmtree(left, ignore_errors=True)
    fresh = path.with_name(f"{path.name}.new-{os.getpid()}")
    fresh.mkdir()
    try:
        yield fresh
        fresh.rename(path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


class Service:
    """One server: see the file's head. `stack` lends its settings, its folder and its voice."""

    name = ""
    port_offset = 0

    def __init__(self, stack):
        self.stack = stack
        self.dir = stack.dir / self.name
        self.data = self.dir / "data"
        self.log = self.dir / f"{self.name}.log"
        self.log_start = 0  # where the newest start begins in the log
        self.record = self.dir / "process"

    # What a subclass has to say.

    def missing(self):
        """What keeps the server from being started here, each with its remedy."""
        raise NotImplementedError

    def prepare(self):
        """Makes configuration and data ready; repeats what an earlier call left half done."""
        raise NotImplementedError

    def command(self):
        """The server's arguments, the first its path."""
        raise NotImplementedError

    def config(self):
        """The text of the server's configuration file."""
        raise NotImplementedError

    def answers(self):
        """Does the server answer a real question now?"""
        raise NotImplementedError

    def furnish(self):
        """What must exist inside the server once it answers; safe to repeat."""

    def tidy(self):
        """Removes what lies outside the folder, after a stop."""

    # What all have.

    @property
    def port(self):
        return self.stack.settings.port_base + self.port_offset

    @property
    def ports(self):
        return [self.port]

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def process(self):
        """The process recorded last, gone or not; None after a stop."""
        return Process.load(self.record)

    @property
    def pid(self):
        process = self.process
        return process.pid if process and process.state != "gone" else None

    @property
    def state(self):
        """'stopped', 'dead', 'paused', 'silent' (runs, does not answer) or 'running'."""
        process = self.process
        if process is None:
            return "stopped"
        if process.state == "running":
            return "running" if self.answers() else "silent"
        return "dead" if process.state == "gone" else process.state

    def say(self, text):
        self.stack.say(f"{self.name:<6} {text}")

    def problems(self):
        """Everything that would keep a start from working; nothing if it runs already."""
        if self.pid:
            return []
        taken = [f"port {port} is taken by {ports.owner(port)}: stop that, or choose other ports "
                 "with --port-base" for port in self.ports if not ports.is_free(port)]
        return [f"{self.name}: {problem}" for problem in self.missing() + taken]

    def start(self):
        """Returns when the server answers, whatever state it was in before."""
        began = time.monotonic()
        process, how = self.bring_up()
        self.wait_answer(process)
        self.furnish()
        took_s = time.monotonic() - began
        self.say(f"{self.address}  {how} (pid {process.pid}), answers after {took_s:.1f} s")

    def bring_up(self):
        process = self.process
        state = process.state if process else "gone"
        if state == "gone":
            return self.spawn(), "started"
        if process.mark != self.mark():
            self.say(f"runs with other settings: `restart {self.name}` applies the new ones")
        if state == "paused":
            process.signal(signal.SIGCONT)
            return process, "resumed"
        return process, "runs already"

    def spawn(self):
        self.dir.mkdir(parents=True, exist_ok=True)
        self.rotate_log()
        self.prepare()
        return Process.spawn(self.command(), self.record, self.log, self.mark())

    def stop(self, timeout_s=120):
        """Orderly, and with force when the server needs longer than that."""
        process = self.process
        if process and process.state != "gone":
            self.end(process, timeout_s)
        self.record.unlink(missing_ok=True)
        self.tidy()

    def end(self, process, timeout_s):
        began = time.monotonic()
        process.signal(signal.SIGTERM)
        process.signal(signal.SIGCONT)  # a paused one would never see the first
        how = "stopped"
        if not process.wait("gone", timeout_s):
            process.signal(signal.SIGKILL)
            process.wait("gone", timeout_s)
            how = f"killed (it did not stop within {timeout_s} s)"
        self.say(f"{how} after {time.monotonic() - began:.1f} s")

    def kill(self):
        """SIGKILL: what a crash does. The record stays; `start` brings it back."""
        process = self.signal(signal.SIGKILL)
        process.wait("gone", 30)
        self.say(f"killed (pid {process.pid})")

    def pause(self):
        self.signal(signal.SIGSTOP).wait("paused", 30)
        self.say("paused")

    def resume(self):
        self.signal(signal.SIGCONT).wait("running", 30)
        self.say("resumed")

    def signal(self, number):
        process = self.process
        if process is None or not process.signal(number):
            raise StackError(f"{self.name} does not run: `deploy/stack start {self.name}`")
        return process

    def wait_answer(self, process):
        deadline = time.monotonic() + self.stack.settings.timeout_s
        while True:
            if process.state == "gone":
                raise StackError(self.obituary("died while starting"))
            if self.answers():
                return
            if self.stack.interrupted.is_set():
                raise StackError(f"{self.name}: interrupted; `deploy/stack stop` ends what runs")
            if time.monotonic() > deadline:
                limit = f"{self.stack.settings.timeout_s} s (--timeout-s)"
                raise StackError(self.obituary(f"runs but does not answer within {limit}"))
            time.sleep(POLL_S)

    # Configuration and log.

    def write_config(self, path):
        new = path.with_suffix(".new")
        new.write_text(self.config())
        new.replace(path)

    def mark(self):
        """A mark of all settings the server would be started with now."""
        return hashlib.sha256(f"{self.command()} {self.config()}".encode()).hexdigest()[:16]

    def rotate_log(self):
        """A log that has grown large becomes the old one; a new start is marked in the new."""
        if self.log.exists() and self.log.stat().st_size > LOG_KEPT_BYTES:
            self.log.replace(self.log.with_suffix(".log.old"))
        self.log.touch(mode=0o600)
        self.log_start = self.log.stat().st_size

    def log_since_start(self):
        """The lines since this start, at most the last 64 KiB."""
        if not self.log.exists():
            return []
        with self.log.open("rb") as log:
            log.seek(max(self.log_start, self.log.stat().st_size - 65536))
            return log.read().decode(errors="replace").splitlines()

    def run_tool(self, argv, failure):
        """Runs a program that prepares something to its end; its output goes to the log, too."""
        with self.log.open("a") as log:
            done = subprocess.run(argv, check=False, stdin=subprocess.DEVNULL,
                                  stdout=log, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise StackError(self.obituary(failure))

    def obituary(self, failure):
        """The failure, its remedy if the log says something known, and the log from there on."""
        lines = self.log_since_start()
        text = "\n".join(lines)
        hints = [hint for pattern, hint in HINTS if re.search(pattern, text)]
        remedy = hints[0].format(name=self.name) if hints else "the log says why"
        bad = [at for at, line in enumerate(lines) if re.search(FIRST_SIGN, line)]
        first = bad[0] if bad else max(0, len(lines) - LOG_SHOWN_LINES)
        shown = "".join(f"\n    {line[:300]}" for line in lines[first:first + LOG_SHOWN_LINES])
        return f"{self.name} {failure}: {remedy}\n  {self.log} says:{shown or ' nothing'}"
