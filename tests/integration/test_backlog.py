"""Working off a backlog: it is told how much is left, how fast it goes, and when it will be done."""

import json
import re
import time

from harness import eventually

EVENTS = 160_000
SLOW = {"consumer_batch_max_events": 500, "consumer_flush_interval_min_ms": 100}  # 5,000/s a partition
RATE = 2 * 5000


def catching_up(instance):
    """(events left, events a second, seconds left) of each line."""
    found = re.findall(r'msg="catching up" events_left=(\d+) events_per_second=(\d+) '
                       r'seconds_left=(\d+)', instance.log)
    return [tuple(map(int, line)) for line in found]


def test_a_backlog_is_told_with_the_time_it_takes(ledger):
    ledger.run("produce", "--generate", EVENTS, "--accounts", 1000)
    one = ledger.start("one", **SLOW)
    eventually(lambda: catching_up(one), what="a line about the backlog")
    left, rate, seconds = catching_up(one)[0]
    assert 0 < rate <= RATE * 1.2
    assert seconds == _near(left / rate)

    for backlog in (json.loads(one.get("/status")[1])["backlog"],
                    json.loads(ledger.run("status", "--json"))["backlog"]):
        assert 0 < backlog["events"] < EVENTS
        assert 0 < backlog["events_per_second"] <= RATE * 1.2
        assert backlog["seconds_left"] == _near(backlog["events"] / backlog["events_per_second"])

    said = json.loads(one.get("/status")[1])["backlog"]
    begin = time.monotonic()
    ledger.wait_consumed(600)
    took = time.monotonic() - begin
    assert said["seconds_left"] == _near(took), "the time left was honest"
    eventually(lambda: 'msg="caught up"' in one.log, what="a line at its end")
    eventually(lambda: json.loads(one.get("/status")[1])["backlog"]["events"] == 0,
               what="none left")
    assert json.loads(ledger.run("status", "--json"))["backlog"]["seconds_left"] == 0


def test_a_table_of_the_status_tells_the_time_left(ledger):
    ledger.run("produce", "--generate", EVENTS, "--accounts", 1000)
    ledger.start("one", **SLOW)
    text = ledger.run("status")
    assert re.search(r"\nbacklog: [0-9]+ events, [0-9]+ a second, about [0-9]+ s left\n", text), text


class _near:
    """Equal within a half and two seconds: other programs run on this machine."""

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return abs(other - self.value) <= self.value / 2 + 2

    def __repr__(self):
        return f"about {self.value:.1f}"
