"""`outboxd`: what applications write into outbox_events arrives in Kafka, whatever breaks."""

import json
import os
import random
import re
import signal
import subprocess
import threading
import time
from contextlib import closing

import confluent_kafka
import pymysql
import pytest

from harness import SANITIZER_REPORTS, eventually, random_events
from oracle import Oracle, partition_of

OUTBOXD = os.environ.get("OUTBOXD", "outboxd")
TTL_MS = 3000


class Relay:
    """A running `outboxd run`."""

    def __init__(self, ledger, name, **options):
        self.name = name
        self.log_path = ledger.folder / f"relay-{name}.log"
        env = ledger.environment | {"LEDGERD_CONSUMER_ID": name, "LEDGERD_LEASE_TTL_MS": str(TTL_MS)}
        env |= {f"LEDGERD_{key.upper()}": str(value) for key, value in options.items()}
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([OUTBOXD, "run"], env=env, stderr=log,
                                            stdin=subprocess.DEVNULL)

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, timeout_s=30):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        return self.process.wait(timeout_s)


class Outbox:
    """A ledger's database as applications and relays see it."""

    def __init__(self, ledger):
        self.ledger = ledger
        self.relays = []

    def start(self, name="relay", **options):
        self.relays.append(Relay(self.ledger, name, **options))
        return self.relays[-1]

    def close(self):
        for relay in self.relays:
            relay.process.kill()
            relay.process.wait()
            for report in SANITIZER_REPORTS:
                assert report not in relay.log, relay.log[relay.log.index(report):][:6000]

    def run(self, *arguments, status=0, **options):
        env = self.ledger.environment | {f"LEDGERD_{key.upper()}": str(value)
                                         for key, value in options.items()}
        done = subprocess.run([OUTBOXD, *arguments], env=env, capture_output=True, timeout=60)
        assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
        return done.stdout.decode() + done.stderr.decode()

    def status(self):
        return json.loads(self.run("status", "--json"))

    def insert(self, rows, topic=None):
        """Each of (event_id, key, payload) in a transaction of its own."""
        with self.ledger.mysql() as connection, connection.cursor() as cursor:
            for event_id, key, payload in rows:
                cursor.execute("INSERT INTO outbox_events (event_id, topic, partition_key, payload)"
                               " VALUES (%s, %s, %s, %s)",
                               (event_id, topic or self.ledger.topic, key, payload))

    def fates(self):
        rows = self.ledger.sql("SELECT status, COUNT(*) AS n FROM outbox_events GROUP BY status")
        return {row["status"]: row["n"] for row in rows}

    def wait_sent(self, count, timeout_s=60):
        eventually(lambda: self.fates().get("SENT", 0) == count, timeout_s, f"{count} rows SENT")

    def read(self, topic=None):
        """What a read_committed reader sees: by partition, messages in order."""
        topic = topic or self.ledger.topic
        config = {"bootstrap.servers": self.ledger.stack.kafka.address, "group.id": "test",
                  "isolation.level": "read_committed", "enable.auto.commit": False,
                  "enable.partition.eof": True}
        found = {partition: [] for partition in range(self.ledger.partitions)}
        with closing(confluent_kafka.Consumer(config)) as consumer:
            consumer.assign([confluent_kafka.TopicPartition(topic, partition, 0)
                             for partition in found])
            ends = 0
            while ends < len(found):
                message = consumer.poll(20)
                assert message, "Kafka does not answer"
                if message.error():
                    ends += 1
                else:
                    found[message.partition()].append(message)
        return found

    def event_ids(self, topic=None):
        """By key, event ids in the order of their messages, duplicates and all."""
        order = {}
        for messages in self.read(topic).values():
            for message in messages:
                key = message.key().decode() if message.key() is not None else None
                headers = dict(message.headers())
                order.setdefault(key, []).append(headers["event_id"].decode())
        return order


@pytest.fixture
def outbox(ledger):
    one = Outbox(ledger)
    yield one
    one.close()


def first_appearances(ids):
    return list(dict.fromkeys(ids))


def rows_of(count, prefix="e", keys=7):
    return [(f"{prefix}-{number}", str(number % keys), json.dumps({"n": number}))
            for number in range(count)]


def expected_order(rows):
    order = {}
    for event_id, key, _ in rows:
        order.setdefault(key, []).append(event_id)
    return order


def assert_arrived(outbox, rows, duplicates):
    found = outbox.event_ids()
    assert {key: first_appearances(ids) for key, ids in found.items()} == expected_order(rows)
    if not duplicates:
        assert sum(map(len, found.values())) == len(rows)


def test_rows_arrive_in_order_with_key_payload_and_header(outbox):
    rows = rows_of(3000)
    outbox.insert(rows)
    outbox.start()
    outbox.wait_sent(len(rows))
    assert_arrived(outbox, rows, duplicates=False)
    payloads = {event_id: json.loads(payload) for event_id, _, payload in rows}
    for partition, messages in outbox.read().items():
        for message in messages:
            assert partition == partition_of(message.key(), outbox.ledger.partitions)
            event_id = dict(message.headers())["event_id"].decode()
            assert json.loads(message.value()) == payloads[event_id]
    assert outbox.ledger.sql("SELECT COUNT(*) AS n FROM outbox_events WHERE sent_at IS NULL"
                             )[0]["n"] == 0


def test_a_row_without_a_key_has_none(outbox):
    outbox.insert([("e-1", None, "{}")])
    outbox.start()
    outbox.wait_sent(1)
    assert outbox.event_ids() == {None: ["e-1"]}


def test_a_row_that_is_seen_late_is_sent_though_a_later_one_was(outbox):
    outbox.start()
    with outbox.ledger.mysql() as slow, slow.cursor() as cursor:
        slow.begin()
        cursor.execute("INSERT INTO outbox_events (event_id, topic, partition_key, payload) "
                       "VALUES ('first', %s, '1', '{}')", (outbox.ledger.topic,))
        outbox.insert([("second", "1", "{}")])
        outbox.wait_sent(1)
        slow.commit()
    outbox.wait_sent(2)
    ids = outbox.ledger.sql("SELECT event_id FROM outbox_events ORDER BY id")
    assert [row["event_id"] for row in ids] == ["first", "second"]
    assert outbox.event_ids() == {"1": ["second", "first"]}


class Application(threading.Thread):
    """Inserts rows until it is told to stop, whatever becomes of the server."""

    def __init__(self, outbox, per_second=400):
        super().__init__()
        self.outbox = outbox
        self.pause_s = 1 / per_second
        self.rows = []
        self.done = False

    def run(self):
        number = 0
        while not self.done:
            row = (f"a-{number}", str(number % 5), json.dumps({"n": number}))
            try:
                self.outbox.insert([row])
                self.rows.append(row)
                number += 1
            except pymysql.err.IntegrityError:  # it had committed; only the answer was lost
                self.rows.append(row)
                number += 1
            except (pymysql.err.Error, OSError):
                time.sleep(0.2)
            time.sleep(self.pause_s)

    def stop(self):
        self.done = True
        self.join()
        return self.rows


def test_kills_in_the_middle_lose_nothing(outbox):
    application = Application(outbox)
    application.start()
    chance = random.Random(1)
    for number in range(8):
        relay = outbox.start(f"relay-{number}", outbox_batch_max_rows=chance.choice([1, 7, 1000]))
        time.sleep(TTL_MS / 1000 + chance.random())
        relay.kill()
    rows = application.stop()
    outbox.start("last")
    outbox.wait_sent(len(rows))
    assert len(rows) > 500
    assert_arrived(outbox, rows, duplicates=True)


def test_of_two_relays_one_sends_and_the_other_takes_over(outbox):
    first = outbox.start("first")
    eventually(lambda: outbox.status()["holder"] == "first", 20)
    second = outbox.start("second")
    outbox.insert(rows_of(100))
    outbox.wait_sent(100)
    assert outbox.status()["holder"] == "first"
    assert first.stop() == 0
    eventually(lambda: outbox.status()["holder"] == "second", 2, "a clean stop hands over at once")
    outbox.insert(rows_of(100, "f"))
    outbox.wait_sent(200)
    assert second.stop() == 0
    assert not outbox.status()["held"]
    assert_arrived(outbox, rows_of(100) + rows_of(100, "f"), duplicates=False)


def test_one_that_sleeps_and_wakes_late_sends_nothing_more(outbox):
    application = Application(outbox)
    application.start()
    sleeper = outbox.start("sleeper", outbox_batch_max_rows=50)
    chance = random.Random(2)
    eventually(lambda: outbox.fates().get("SENT", 0) > 50, 20)
    for number in range(3):
        other = outbox.start(f"other-{number}")
        sleeper.process.send_signal(signal.SIGSTOP)
        eventually(lambda name=other.name: outbox.status()["holder"] == name, 30)
        time.sleep(chance.random())
        sleeper.process.send_signal(signal.SIGCONT)
        time.sleep(1)
        assert outbox.status()["holder"] == other.name
        assert other.stop() == 0
        eventually(lambda: outbox.status()["holder"] == "sleeper", 20)
    rows = application.stop()
    outbox.wait_sent(len(rows))
    assert_arrived(outbox, rows, duplicates=True)
    assert "the lease is lost" in sleeper.log


@pytest.mark.parametrize("server", ["mysql", "kafka"])
def test_a_server_that_is_killed_loses_nothing(outbox, server):
    stack = outbox.ledger.stack
    relay = outbox.start()
    outbox.insert(rows_of(200))
    outbox.wait_sent(200)
    application = Application(outbox)
    application.start()
    time.sleep(1)
    getattr(stack, server).kill()
    time.sleep(1)
    stack.start()
    time.sleep(2)
    rows = application.stop()
    outbox.wait_sent(200 + len(rows), 120)
    assert_arrived(outbox, rows_of(200) + rows, duplicates=True)
    assert relay.stop() == 0
    assert "the outbox waits" in relay.log


def test_a_message_that_is_too_large_is_failed_and_no_other(outbox):
    large = json.dumps({"text": random.Random(4).randbytes(1_500_000).hex()})  # hardly compressed
    topic = f"{outbox.ledger.topic}-large"
    outbox.ledger.stack.kafka.create_topic(topic, 2, {"max.message.bytes": "1000000"})
    rows = rows_of(20, keys=1)
    outbox.insert([*rows[:10], ("large", "0", large), *rows[10:]], topic)
    relay = outbox.start()
    outbox.wait_sent(20)
    eventually(lambda: outbox.fates() == {"SENT": 20, "FAILED": 1}, 20)
    failed = outbox.ledger.sql("SELECT event_id FROM outbox_events WHERE status = 'FAILED'")
    assert [row["event_id"] for row in failed] == ["large"]
    assert outbox.event_ids(topic) == expected_order(rows)
    line = next(line for line in relay.log.splitlines() if "can never be sent" in line)
    assert "event_id=large" in line and "max.message.bytes" in line and re.search(r" id=\d+", line)
    assert outbox.status()["failed"] == 1
    outbox.ledger.stack.kafka.delete_topic(topic)


def test_a_small_row_is_not_failed_for_what_was_sent_with_it(outbox):
    """A topic whose messages must be small: many together are too large for one request."""
    topic = f"{outbox.ledger.topic}-small"
    outbox.ledger.stack.kafka.create_topic(topic, 2, {"max.message.bytes": "2000"})
    text = "".join(random.Random(3).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=700))
    rows = [(f"e-{number}", "1", json.dumps({"text": text[::-1 if number % 2 else 1], "n": number}))
            for number in range(12)]
    outbox.insert(rows, topic)
    outbox.start()
    outbox.wait_sent(12)
    assert outbox.fates() == {"SENT": 12}
    assert outbox.event_ids(topic) == expected_order(rows)
    outbox.ledger.stack.kafka.delete_topic(topic)


def test_a_topic_without_a_proper_name_fails_its_rows(outbox):
    outbox.insert([("bad", "1", "{}")], "not a topic")
    outbox.insert([("good", "1", "{}")])
    relay = outbox.start()
    eventually(lambda: outbox.fates() == {"SENT": 1, "FAILED": 1}, 20)
    eventually(lambda: "event_id=bad" in relay.log, 20)  # which is told after the commit


def test_rows_of_a_missing_topic_wait_and_others_go_on(outbox):
    topic = f"{outbox.ledger.topic}-later"
    outbox.insert(rows_of(10, "later"), topic)
    relay = outbox.start()
    outbox.insert(rows_of(10))
    outbox.wait_sent(10)
    assert outbox.fates() == {"SENT": 10, "PENDING": 10}
    eventually(lambda: f"topic={topic}" in relay.log, 20)
    outbox.ledger.stack.kafka.create_topic(topic, outbox.ledger.partitions)
    outbox.wait_sent(20)
    found = outbox.event_ids(topic)
    assert found == expected_order(rows_of(10, "later"))
    outbox.ledger.stack.kafka.delete_topic(topic)


def test_events_through_the_outbox_are_the_ledgers(outbox):
    """Two relays that are killed in turn, a ledger behind them: balances equal to the oracle's."""
    events = random_events(3000, seed=11)
    rows = [(f"ob-{number}", str(json.loads(value)["account_id"]), value.decode())
            for number, value in enumerate(events)]
    outbox.ledger.start()
    outbox.start("first")
    outbox.insert(rows[:1000])
    outbox.relays[0].kill()
    outbox.start("second", outbox_batch_max_rows=100)
    outbox.insert(rows[1000:2000])
    eventually(lambda: outbox.fates().get("SENT", 0) > 1000, 30)
    outbox.relays[1].kill()
    outbox.insert(rows[2000:])
    outbox.start("third")
    outbox.wait_sent(3000)
    oracle = Oracle(outbox.ledger.partitions)
    for partition, messages in outbox.read().items():
        for message in messages:
            oracle.feed(partition, message.offset(), message.key(), message.value(),
                        message.timestamp()[1])
    outbox.ledger.wait_consumed()
    outbox.ledger.assert_equals_oracle(oracle)


def test_the_command_line_is_as_ledgerds(outbox):
    assert "outboxd COMMAND" in outbox.run("--help")
    assert re.fullmatch(r"outboxd \d+\.\d+\.\d+\n", outbox.run("--version"))
    assert "outbox.batch_max_rows" in outbox.run("--help-config")
    assert "there is no command" in outbox.run("rum", status=2)
    for command in ("run", "status", "check-config"):
        assert f"outboxd {command}" in outbox.run(command, "--help")
    assert "LEDGERD_OUTBOX_BATCH_MAX_ROWS" in outbox.run("run", status=2, outbox_batch_max_rows="0")
    assert outbox.run("check-config").count("ok ") == 2
    assert "CHANGE  mysql" in outbox.run("check-config", status=1, mysql_database="nowhere")
    assert "nobody ever has" in outbox.run("status")
    relay = outbox.start()
    eventually(lambda: outbox.status()["held"], 20)
    assert "relay, epoch" in outbox.run("status")
    assert relay.stop() == 0
    assert "nobody; relay did" in outbox.run("status")
