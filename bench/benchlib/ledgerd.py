"""A `ledgerd run` under measurement: one instance, its log and what its HTTP says."""

import contextlib
import os
import time
import urllib.request

from benchlib.errors import Failed
from stacklib import ports

NO_CONFIG = ["-c", os.devnull]  # all that ledgerd is told is in its environment
READY_S = 60
STALLED_S = 60


class Ledgerd:
    def __init__(self, bench, number=1):
        self.http = f"127.0.0.1:{ports.free()}"
        self.log = bench.dir / (f"ledgerd-{number}.log" if number > 1 else "ledgerd.log")
        self.ended = False
        self.id = f"bench-{number}-{self.http.rpartition(':')[2]}"
        with open(self.log, "wb") as log:
            self.child = bench.spawn(
                "consumer/ledgerd", "run", *NO_CONFIG, stderr=log,
                changes={"LEDGERD_HTTP_LISTEN": self.http,
                         "LEDGERD_CONSUMER_ID": self.id})

    @property
    def pid(self):
        return self.child.pid

    def stop(self):
        self.ended = True
        self.child.terminate()
        if self.child.wait(60) != 0:
            raise Failed(f"ledgerd ended with exit status {self.child.returncode}: see {self.log}")

    def kill(self):
        """What a crash does."""
        self.ended = True
        self.child.kill()
        self.child.wait()

    def check(self):
        """It runs, or we have ended it."""
        if not self.ended and self.child.poll() is not None:
            said = self.log.read_text(encoding="utf-8", errors="replace")
            raise Failed(f"ledgerd ended with exit status {self.child.returncode}:\n"
                         f"{said[-2000:]}")

    def wait_ready(self):
        """Until it owns its partitions."""
        deadline = time.monotonic() + READY_S
        while True:
            self.check()
            with contextlib.suppress(OSError):
                with urllib.request.urlopen(f"http://{self.http}/readyz", timeout=5):
                    return
            if time.monotonic() > deadline:
                raise Failed(f"ledgerd is not ready after {READY_S} s: see {self.log}")
            time.sleep(0.05)

    def metrics(self):
        """{'name{labels}': value} of every sample."""
        with urllib.request.urlopen(f"http://{self.http}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, value in
                (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}

    def wait_counted(self, events):
        """Others see a commit before ledgerd counts it. Until so many events are counted since its
        start, and none waits: then the gauges are those of the end, too."""
        self.wait_metrics(lambda now: total(now, "ledger_events_total") >= events
                          and total(now, "ledger_oldest_event_seconds") == 0,
                          f"not all of the {events:,} committed events are counted")

    def wait_published(self):
        """Redis follows what is counted; a moment later nothing waits."""
        self.wait_metrics(lambda now: total(now, "ledger_redis_pending") == 0,
                          "balances still wait for Redis")

    def wait_metrics(self, condition, otherwise):
        deadline = time.monotonic() + STALLED_S
        while not condition(self.metrics()):
            self.check()
            if time.monotonic() > deadline:
                raise Failed(f"{otherwise} after {STALLED_S} s: see {self.log}")
            time.sleep(0.02)


def total(metrics, name, *labels):
    """The sum of all samples of a metric that have these labels (`stage="commit"`)."""
    return sum(value for sample, value in metrics.items()
               if sample.partition("{")[0] == name and all(one in sample for one in labels))
