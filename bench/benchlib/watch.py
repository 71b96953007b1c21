"""What another connection sees of the commits, by bench-watch; and what follows from it.

Nothing of ledgerd's own counting is in these figures.
"""

import subprocess
import threading
import time

import confluent_kafka

from benchlib.bench import TOPIC
from benchlib.errors import Failed
from benchlib.ledgerd import STALLED_S

READ_AT_ONCE = 10000


class Watch:
    """Watches the offsets until their sum is `total`. `changes`: (wall clock us, partition,
    next_offset), as they were seen."""

    def __init__(self, bench, every_us, total):
        self.bench = bench
        self.changes = []
        self.latest = {}  # by partition
        self.total = total
        # A short run's rate may begin here: it is no figure.
        self.began_us = time.time_ns() // 1000 if bench.options.quick else None
        self.child = bench.spawn("bench/bench-watch", every_us, total, stdout=subprocess.PIPE)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.child.stdout:
            change = tuple(map(int, line.split()))
            self.changes.append(change)
            self.latest[change[1]] = change[2]

    def wait_first(self, after=0):
        """Until there are more than `after` events in the database."""
        self.wait(lambda: self.seen() > after)

    def wait_all(self, what):
        self.wait(lambda: self.child.poll() is not None, what)
        self.thread.join()
        if self.child.returncode != 0:
            raise Failed("watching the offsets failed: see above")

    def wait(self, condition, what=""):
        seen, moved = 0, time.monotonic()
        while not condition():
            self.bench.ledgerd.check()
            now = time.monotonic()
            seen, moved = (self.seen(), now) if self.seen() > seen else (seen, moved)
            if now - moved > STALLED_S:
                raise Failed(f"no progress for {STALLED_S} s, at {seen:,} events: see "
                             f"{self.bench.ledgerd.log}")
            if what:
                self.bench.screen.passing(f"{what}: {seen:,} of {self.total:,}")
            time.sleep(0.01)

    def seen(self):
        return sum(list(self.latest.values()))

    def wait_seen(self, events):
        """Until so many are in the database."""
        self.wait(lambda: self.seen() >= events, "consuming")

    def rate(self, before=0):
        """Events a second, from the first commit seen beyond `before` to the last; how long that
        took."""
        return rate(self.changes, before, self.began_us)

    def rate_between(self, low, high):
        """The rate between two parts of all events."""
        return rate_between(self.changes, self.total * low, self.total * high, self.began_us)


def rate(changes, before, began_us=None):
    """Events a second, and the seconds: from the first look with more than `before` events to the
    last one. If that is the same look, from `began_us` on, the start of watching."""
    (first_us, begin), (last_us, end) = first_commit(changes, before), sums(changes)[-1]
    if first_us == last_us:
        first_us, begin = begun(began_us), before
    seconds = (last_us - first_us) / 1e6
    return (end - begin) / seconds, seconds


def rate_between(changes, low, high, began_us=None):
    """Events a second between two numbers of events, in the same way."""
    times = sums(changes)
    begin_us, begin = next(one for one in times if one[1] >= low)
    end_us, end = next(one for one in times if one[1] >= high)
    if begin_us == end_us:
        begin_us, begin = begun(began_us), 0
    return (end - begin) / (end_us - begin_us) * 1e6


def begun(began_us):
    if began_us is None:
        raise Failed("all events were committed at once: take more --events")
    return began_us


def sums(changes):
    """[(us, events)]: how many events were in the database after each look."""
    offsets, events, found = {}, 0, []
    for us, partition, offset in list(changes):
        events += offset - offsets.get(partition, 0)
        offsets[partition] = offset
        if found and found[-1][0] == us:
            found.pop()
        found.append((us, events))
    return found


def first_commit(changes, before):
    """The first look with more than `before` events: when, and how many there were."""
    return next(one for one in sums(changes) if one[1] > before)


def message_times(bench, begin):
    """Kafka's times of all messages at or after the offsets {partition: offset}, in
    milliseconds: {partition: [(offset, time)]}."""
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": bench.stack.kafka.address, "group.id": "bench-times",
        "enable.auto.commit": False, "enable.partition.eof": True})
    times = {partition: [] for partition in begin}
    consumer.assign([confluent_kafka.TopicPartition(TOPIC, partition, offset)
                     for partition, offset in begin.items()])
    open_ends = set(begin)
    while open_ends:
        for message in consumer.consume(READ_AT_ONCE, 1):
            if message.error():
                open_ends.discard(message.partition())
            else:
                times[message.partition()].append((message.offset(), message.timestamp()[1]))
    consumer.close()
    return times


def latencies_ms(times, changes):
    """Of each message: from its time to the moment in which its commit was seen; sorted by the
    messages' times."""
    found = []
    for partition, messages in times.items():
        seen = [(offset, us / 1000) for us, one, offset in changes if one == partition]
        at = 0
        for offset, time_ms in messages:
            while seen[at][0] <= offset:
                at += 1
            found.append((time_ms, seen[at][1] - time_ms))
    found.sort()
    return found


def longest_gap_ms(changes, partition, begin_us, end_us):
    """The longest time in which no commit of a partition was seen, among those that have a part
    between the two moments; what is still open at the end counts."""
    times = [us for us, one, _ in list(changes) if one == partition and us <= end_us]
    before = [us for us in times if us <= begin_us]
    points = [*before[-1:], *times[len(before):], end_us]
    return max((later - earlier for earlier, later in zip(points, points[1:])),
               default=end_us - begin_us) / 1000


def percentiles(values, parts):
    """The smallest values that so many parts of all are at or below."""
    values = sorted(values)
    return [values[max(0, -int(-part * len(values) // 1) - 1)] for part in parts]
