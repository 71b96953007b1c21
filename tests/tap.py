"""Runs pytest and tells Meson the result of every test, as TAP.

    tap.py [ARGUMENT OF PYTEST...]

Standard output has the results; what pytest has to say to people goes to standard error.
"""

import os
import signal
import sys

import pytest


class Tap:
    """A plugin: a line for each test, with the worst of its setup, call and teardown."""

    def __init__(self, out):
        self.out = out
        self.number = 0
        self.worst = {}  # test: the report that decides

    def pytest_collection_finish(self, session):
        self.say(f"1..{len(session.items)}")

    def pytest_runtest_logreport(self, report):
        worst = self.worst.setdefault(report.nodeid, report)
        if report.failed or (report.skipped and not worst.failed):
            self.worst[report.nodeid] = report
        if report.when == "teardown":
            self.result(self.worst.pop(report.nodeid))

    def result(self, report):
        self.number += 1
        name = report.nodeid.rpartition("/")[2].replace("#", "_")
        outcome = "not ok" if report.failed else "ok"
        self.say(f"{outcome} {self.number} - {name}" + (" # SKIP" if report.skipped else ""))

    def say(self, line):
        print(line.encode("ascii", "backslashreplace").decode(), file=self.out, flush=True)


def main(arguments):
    # A time-out must end the servers as well, which is what fixtures do on their way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return pytest.main(["-q", "-p", "no:cacheprovider", *arguments], plugins=[Tap(out)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
