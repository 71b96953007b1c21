"""What deploy/quickstart promises, tried as a person would.

    /usr/bin/python3 -m pytest deploy/test_quickstart.py      about two minutes
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from stack import Stack, free_port_base  # noqa: E402
from stacklib.process import Process  # noqa: E402

COMMAND = Path(__file__).resolve().parent / "quickstart"
EVENTS = 5000


class Person:
    """Somebody with a folder and ports of their own."""

    def __init__(self, folder):
        self.folder = folder
        self.port_base = free_port_base()

    def argv(self, *options):
        return [COMMAND, "--dir", self.folder, "--no-install", *options]

    def starts(self, *options, **how):
        return subprocess.Popen(
            self.argv("--port-base", str(self.port_base), "--accounts", "100", *options),
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **how)

    def runs(self, *options, status=0):
        process = self.starts("--events", str(EVENTS), *options)
        output = process.communicate(timeout=300)[0]
        assert process.returncode == status, output
        return output

    def stops(self):
        return subprocess.run(self.argv("--stop"), text=True, capture_output=True, timeout=120,
                              check=True).stdout

    def running(self):
        stack = Stack(self.folder)
        names = [name for name, one in stack.services.items() if one.pid]
        ledgerd = self.ledgerd
        return names + (["ledgerd"] if ledgerd and ledgerd.state != "gone" else [])

    @property
    def ledgerd(self):
        return Process.load(self.folder / "quickstart" / "ledgerd.process")


@pytest.fixture(name="person")
def a_person(tmp_path, monkeypatch):
    root = COMMAND.parents[1]
    if "STACK_CACHE" not in os.environ:
        monkeypatch.setenv("STACK_CACHE", str(root / "build" / "stack" / "cache"))
    person = Person(tmp_path)
    yield person
    person.stops()


def until(condition, timeout_s=120):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def numbers(output):
    """{outcome: events} as it is told."""
    found = re.findall(r"^  (applied|refused|duplicate|dead letter) +([\d,]+)", output, re.MULTILINE)
    return {name: int(number.replace(",", "")) for name, number in found}


def test_a_run_tells_what_became_of_every_event_and_leaves_nothing_running(person):
    output = person.runs()
    counts = numbers(output)
    assert sum(counts.values()) == EVENTS
    assert all(counts.values())  # some of each kind
    assert "no differences" in output
    assert not person.running()


def test_what_is_kept_can_be_used_run_anew_and_stopped(person):
    first = person.runs("--keep")
    assert sorted(person.running()) == ["kafka", "ledgerd", "mysql", "redis"]
    shell = f". {person.folder}/quickstart/env && ledgerd status"
    status = subprocess.run(["sh", "-c", shell], text=True, capture_output=True, check=True).stdout
    assert "topic quickstart" in status
    # The same events again, not added to the first ones.
    assert numbers(person.runs("--keep")) == numbers(first)
    assert "ledgerd" in person.stops()
    assert not person.running()
    assert "Nothing runs" in person.stops()


def test_ctrl_c_ends_everything(person):
    process = person.starts("--events", "50000000")
    until(lambda: "ledgerd" in person.running())
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 128 + signal.SIGINT, output
    assert not person.running()


def test_a_start_after_kills_works(person):
    process = person.starts("--events", "50000000", start_new_session=True)
    until(lambda: "ledgerd" in person.running())
    time.sleep(1)
    process.kill()
    process.communicate()
    person.ledgerd.signal(signal.SIGKILL)
    Stack(person.folder).kill("mysql")
    assert "no differences" in person.runs()
    assert not person.running()


def test_servers_that_somebody_else_has_started_run_on(person):
    stack = Stack(person.folder, port_base=person.port_base)
    stack.start("redis")
    person.runs()
    assert person.running() == ["redis"]
    stack.stop()


def test_a_daemon_that_dies_is_told(person):
    process = person.starts("--events", "50000000")
    until(lambda: "ledgerd" in person.running())
    time.sleep(1)
    person.ledgerd.signal(signal.SIGKILL)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 1 and "ledgerd ended" in output
    assert not person.running()
