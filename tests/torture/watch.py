"""What can be seen of the ledger while it is tortured, ten times a second, past the proxies.

Stalls: a partition stalls from when something was acknowledged that it has not consumed, or from
its last step, until its next step. Hand-overs: leases acquired. What must never be seen is a
failure at once.
"""

import threading
import time
from contextlib import suppress

import pymysql

EVERY_S = 0.1
ANSWER_S = 2
QUESTION = """SELECT o.kafka_partition AS number, next_offset, halted_reason, consumer_id,
                     acquired_at
              FROM partition_offsets o JOIN leader_locks l ON l.id = o.kafka_partition"""


class Partition:
    def __init__(self, number):
        self.number = number
        self.next_offset = 0
        self.since = time.monotonic()  # its last step, or the first event that waits
        self.acquired_at = None
        self.owner = ""
        self.halted = None

    def step(self, now, next_offset, behind):
        """The seconds of the stall so far."""
        stalled_s = now - self.since
        if next_offset != self.next_offset or not behind:
            self.since, self.next_offset = now, next_offset
        return stalled_s


class Watch:
    def __init__(self, world, partitions):
        self.world = world
        self.partitions = [Partition(number) for number in range(partitions)]
        self.longest_stall_s = 0.0
        self.longest_stall_at_s = 0.0
        self.acquired = 0
        self.changed_owner = 0
        self.set_back = 0      # offsets that a promotion has taken back
        self.began = time.monotonic()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def run(self):
        while not self.over.wait(EVERY_S):
            for instance in self.world.dead():
                self.world.fail(f"{instance.name} died by itself, with "
                                f"{instance.process.returncode}:\n{instance.log[-6000:]}")
            rows = self.ask()
            for partition in self.partitions:
                self.look(partition, rows.get(partition.number))

    def ask(self):
        """{partition: row}; nothing while the database is away."""
        with suppress(pymysql.MySQLError, OSError), \
                self.world.ledger.mysql(cursorclass=pymysql.cursors.DictCursor,
                                        connect_timeout=ANSWER_S, read_timeout=ANSWER_S) as mysql, \
                mysql.cursor() as cursor:
            cursor.execute(QUESTION)
            return {row["number"]: row for row in cursor.fetchall()}
        return {}

    def look(self, partition, row):
        offset = row["next_offset"] if row else partition.next_offset
        if offset < partition.next_offset:
            self.set_back += partition.next_offset - offset
        behind = self.world.acknowledged_ends[partition.number] > offset
        stalled_s = partition.step(time.monotonic(), offset, behind)
        if stalled_s > self.longest_stall_s:
            self.longest_stall_s = stalled_s
            self.longest_stall_at_s = time.monotonic() - self.began
        if row:
            self.look_at_lease(partition, row)

    def look_at_lease(self, partition, row):
        if row["halted_reason"] != partition.halted:
            partition.halted = row["halted_reason"]
            if partition.halted:
                self.world.fail(f"partition {partition.number} is halted: {partition.halted}")
        if row["acquired_at"] != partition.acquired_at:
            partition.acquired_at = row["acquired_at"]
            self.acquired += 1
            self.changed_owner += row["consumer_id"] != partition.owner
            partition.owner = row["consumer_id"]
