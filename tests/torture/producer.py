"""A producer of events of every kind, at a steady rate, whatever happens to Kafka.

    producer.py SETTINGS        JSON: bootstrap, topic, partitions, seed, name, rate, accounts

It runs until its standard input ends, and tells five times a second, as a line of JSON, what it has
sent and what was acknowledged. What became of an event that was not acknowledged nobody knows: the
oracle asks the log.

The client is kafka-python, which shares no code with ledgerd.
"""

import json
import logging
import random
import subprocess
import sys
import threading
import time
from contextlib import suppress

import paths  # noqa: F401
from harness import event
from kafka import KafkaProducer
from kafka.errors import KafkaError
from oracle import partition_of

STEP_S = 0.05
TELL_S = 0.2
DEAF_S = 15            # without an acknowledgement: a new client
UNKNOWN_MAX = 20_000   # events without an answer; then it waits
REMEMBERED = 50_000    # events that may be sent once more
TROUBLE = (KafkaError, OSError, ValueError)  # kafka-python's ways to say that Kafka is away
AMOUNT_MAX = "999999999999999999.999999999999999999"
TYPES = ("DEPOSIT", "DEPOSIT", "DEPOSIT", "WITHDRAW", "FREEZE", "UNFREEZE", "SETTLE")


class Events:
    """Makes messages: (key, value, partition or None)."""

    def __init__(self, seed, name, accounts, partitions):
        self.chance = random.Random(seed)
        self.name = name
        self.accounts = accounts
        self.partitions = partitions
        self.number = 0
        self.sent = []  # of good ones, some of the newest
        self.odd = ((0.03, self.again), (0.01, self.again_much_later), (0.005, self.conflict),
                    (0.01, self.malformed), (0.004, self.other_key), (0.004, self.other_partition),
                    (0.002, self.overflow), (0.001, self.no_value))

    def next(self):
        dice = self.chance.random()
        for share, make in self.odd:
            if dice < share and self.sent:
                return make()
            dice -= share
        return self.good()

    def good(self, **changed):
        self.number += 1
        fields = {"transaction_id": f"{self.name}-{self.number}", "account": self.account(),
                  "type": self.chance.choice(TYPES),
                  "currency": self.chance.choice(("USDT", "BTC")),
                  "amount": f"{self.chance.randrange(1, 10_000)}.{self.chance.randrange(100):02}"}
        fields |= changed
        self.remember(fields)
        return message(fields)

    def account(self):
        """A tenth of all events is for ten accounts."""
        return self.chance.randrange(1, 11 if self.chance.random() < 0.1 else self.accounts + 1)

    def remember(self, fields):
        if len(self.sent) < REMEMBERED:
            self.sent.append(fields)
        else:
            self.sent[self.number % REMEMBERED] = fields

    def again(self):
        return message(self.sent[(self.number - self.chance.randrange(1, 200)) % len(self.sent)])

    def again_much_later(self):
        return message(self.chance.choice(self.sent))

    def conflict(self):
        return message(self.chance.choice(self.sent) | {"amount": "0.5"})

    def malformed(self):
        key, value, _ = self.good()
        return key, self.chance.choice((value[:-5], b"", b"\xff\x00\t\n\\", b"[" * 100,
                                        value.replace(b"DEPOSIT", b"DANCE"),
                                        value.replace(b'"amount": "', b'"amount": "-'))), None

    def other_key(self):
        _, value, _ = self.good()
        return self.chance.choice((b"0", b"nobody", None)), value, None

    def other_partition(self):
        key, value, _ = self.good()
        return key, value, (partition_of(key, self.partitions) + 1) % self.partitions

    def overflow(self):
        return self.good(account=self.chance.randrange(1, 5), type="DEPOSIT", amount=AMOUNT_MAX)

    def no_value(self):
        key, _, _ = self.good()
        return key, None, None


def message(fields):
    return str(fields["account"]).encode(), event(**fields), None


class Sender:
    def __init__(self, settings):
        self.settings = settings
        self.events = Events(settings["seed"], settings["name"], settings["accounts"],
                             settings["partitions"])
        self.sent = self.acknowledged = self.failed = self.clients = 0
        self.ends = [0] * settings["partitions"]  # behind the newest acknowledged message
        self.heard_at = 0
        self.client = None

    def connect(self):
        """A client that is deaf for long is left to itself."""
        if self.client:
            with suppress(*TROUBLE):
                self.client.close(timeout=1)
        self.client = None
        with suppress(*TROUBLE):
            self.client = KafkaProducer(
                bootstrap_servers=self.settings["bootstrap"], api_version=(2, 5, 0), acks="all",
                linger_ms=5, retries=20, request_timeout_ms=4000, max_block_ms=2000,
                reconnect_backoff_max_ms=500, metadata_max_age_ms=5000)
            self.clients += 1
        self.heard_at = time.monotonic()
        self.failed = self.sent - self.acknowledged

    def step(self, count):
        if self.client is None or time.monotonic() - self.heard_at > DEAF_S:
            return self.connect()
        if self.sent - self.acknowledged - self.failed > UNKNOWN_MAX:
            return None
        for _ in range(count):
            key, value, partition = self.events.next()
            self.sent += 1
            try:
                self.client.send(self.settings["topic"], value, key, partition=partition) \
                    .add_callback(self.hear).add_errback(self.hear_failure)
            except TROUBLE:
                self.failed += 1
                break
        return None

    def hear(self, record):
        self.acknowledged += 1
        self.heard_at = time.monotonic()
        self.ends[record.partition] = max(self.ends[record.partition], record.offset + 1)

    def hear_failure(self, _):
        self.failed += 1

    def tell(self):
        print(json.dumps({"sent": self.sent, "acknowledged": self.acknowledged, "ends": self.ends,
                          "clients": self.clients}), flush=True)

    def run(self, over):
        due = told_at = time.monotonic()
        while not over.wait(max(0, due - time.monotonic())):
            due = max(due + STEP_S, time.monotonic() - 1)  # what an outage has cost stays lost
            self.step(round(self.settings["rate"] * STEP_S))
            if time.monotonic() - told_at > TELL_S:
                told_at = time.monotonic()
                self.tell()
        if self.client:
            with suppress(*TROUBLE):
                self.client.flush(timeout=10)
        self.tell()


class Producer:
    """The other side: starts the process, and keeps what it tells."""

    def __init__(self, **settings):
        self.process = subprocess.Popen([sys.executable, __file__, json.dumps(settings)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.told = {"sent": 0, "acknowledged": 0, "ends": [0] * settings["partitions"],
                     "clients": 0}
        self.thread = threading.Thread(target=self.listen)
        self.thread.start()

    def listen(self):
        for line in self.process.stdout:
            self.told = json.loads(line)

    def close(self):
        """Its exit status."""
        self.process.stdin.close()
        self.thread.join()
        return self.process.wait()


def main():
    logging.disable(logging.CRITICAL)
    over = threading.Event()
    sender = Sender(json.loads(sys.argv[1]))
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    sender.run(over)


if __name__ == "__main__":
    main()
