"""A ledger under test: its topic, its database, its instances, and independent eyes on all of them.

The clients here (kafka-python, PyMySQL, redis-py) share no code with ledgerd.
"""

import json
import os
import random
import signal
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import closing, contextmanager, suppress
from decimal import Decimal
from pathlib import Path

import confluent_kafka
import pymysql
import redis
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from oracle import Oracle, partition_of
from stacklib import ports

LEDGERD = os.environ.get("LEDGERD", "ledgerd")
READY_S = 60
SANITIZER_REPORTS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:",
                     "WARNING: ThreadSanitizer", "Assertion `")


def eventually(condition, timeout_s=60, what="condition", every_s=0.05):
    """What the condition returns, as soon as it is true. The time is for slow machines: what must be
    fast is measured."""
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(every_s)


def event(transaction_id, account, type="DEPOSIT", amount="1", currency="USDT", **more):
    """A balance event as bytes."""
    return json.dumps({"transaction_id": transaction_id, "account_id": account,
                       "currency": currency, "type": type, "amount": amount, **more}).encode()


def random_events(count, seed=1, accounts=200, prefix="r"):
    """Events of every kind on a few accounts, refusals, duplicates and conflicts among them."""
    chance = random.Random(seed)
    events = []
    for number in range(count):
        if events and chance.random() < 0.03:
            events.append(chance.choice(events[-500:]))
            continue
        kind = chance.choice(["DEPOSIT", "DEPOSIT", "DEPOSIT", "WITHDRAW", "FREEZE", "UNFREEZE",
                              "SETTLE"])
        amount = f"{chance.randrange(1, 10_000)}.{chance.randrange(100):02}"
        events.append(event(f"{prefix}-{number}" if chance.random() > 0.002 else f"{prefix}-0",
                            chance.randrange(1, accounts + 1), kind, amount,
                            chance.choice(["USDT", "BTC"])))
    return events


class Instance:
    """A running `ledgerd run`."""

    def __init__(self, ledger, name, options):
        self.ledger = ledger
        self.name = name
        self.http = f"127.0.0.1:{ports.free()}"
        self.log_path = ledger.folder / f"{name}.log"
        env = ledger.environment | {"LEDGERD_CONSUMER_ID": name, "LEDGERD_HTTP_LISTEN": self.http}
        env |= {f"LEDGERD_{key.upper()}": str(value) for key, value in options.items()}
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([*ledger.program, "run"], env=env, stderr=log,
                                            stdin=subprocess.DEVNULL)

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def get(self, path, timeout_s=10):
        """Status code and body."""
        try:
            with urllib.request.urlopen(f"http://{self.http}{path}", timeout=timeout_s) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metrics(self):
        """{'name{labels}': value} of every sample."""
        status, body = self.get("/metrics")
        assert status == 200, body
        lines = (line.rsplit(" ", 1) for line in body.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in lines}

    def metric(self, name, **labels):
        """The sum of all samples of a name that have these labels."""
        total = 0.0
        for sample, value in self.metrics().items():
            base, _, rest = sample.partition("{")
            if base == name and all(f'{key}="{wanted}"' in rest for key, wanted in labels.items()):
                total += value
        return total

    def is_ready(self):
        assert self.process.poll() is None, f"{self.name} ended:\n{self.log[-3000:]}"
        try:
            return self.get("/readyz", 2)[0] == 200
        except OSError:
            return False

    def wait_ready(self, timeout_s=READY_S):
        eventually(self.is_ready, timeout_s, f"{self.name} ready")
        return self

    def wait_counted(self):
        """Others see a commit before its owner counts it. Until the only owner has counted all that
        is in the database now; the counters come before the offset."""
        offsets = self.ledger.next_offsets()
        eventually(lambda: all(self.metric("ledger_next_offset", partition=partition) >= offset
                               for partition, offset in enumerate(offsets)),
                   what=f"the owner has counted to {offsets}")
        return self

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def assert_clean(self):
        """No sanitizer and no assertion had anything to say."""
        for report in SANITIZER_REPORTS:
            assert report not in self.log, self.log[self.log.index(report):][:6000]

    def stop(self, timeout_s=60):
        """SIGTERM; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.log_threads()
            self.kill()
            raise

    def log_threads(self):
        """What each thread does, into the log, where there is a gdb."""
        with open(self.log_path, "ab") as log, suppress(FileNotFoundError):
            subprocess.run(["gdb", "-p", str(self.process.pid), "-batch",
                            "-ex", "thread apply all backtrace"],
                           stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)


class Ledger:
    """A topic and a database of their own, on servers that many tests share."""

    counter = 0

    def __init__(self, stack, folder, partitions=2, **options):
        Ledger.counter += 1
        self.stack = stack
        self.folder = Path(folder)
        self.partitions = partitions
        self.database = f"ledger_{os.getpid()}_{Ledger.counter}"
        self.topic = f"events-{os.getpid()}-{Ledger.counter}"
        self.instances = []
        self.program = [LEDGERD]
        servers = {key: str(value) for key, value in stack.environment().items()}
        self.environment = os.environ | servers | {
            "LEDGERD_MYSQL_DATABASE": self.database,
            "LEDGERD_KAFKA_TOPIC": self.topic,
            "LEDGERD_LEDGER_NAME": self.database,
        } | {f"LEDGERD_{key.upper()}": str(value) for key, value in options.items()}
        stack.mysql.sql(f"CREATE DATABASE {self.database}")
        stack.kafka.create_topic(self.topic, partitions)
        self.redis.flushall()
        self.run("migrate")

    def close(self):
        for instance in self.instances:
            instance.stop()
        self.stack.mysql.sql(f"DROP DATABASE {self.database}")
        self.stack.kafka.delete_topic(self.topic)
        for instance in self.instances:
            instance.assert_clean()

    # Commands and instances

    def run(self, *arguments, status=0, input=None, timeout_s=600):
        """A command of ledgerd, which must end with this status. Its standard output."""
        done = subprocess.run([*self.program, *map(str, arguments)], env=self.environment,
                              input=input, capture_output=True, timeout=timeout_s)
        assert done.returncode == status, (arguments, done.returncode, done.stdout[-2000:].decode(),
                                           done.stderr[-2000:].decode())
        return done.stdout.decode()

    def start(self, name="one", wait=True, **options):
        instance = Instance(self, name, options)
        self.instances.append(instance)
        return instance.wait_ready() if wait else instance

    # Kafka

    def producer(self, **options):
        # Metadata names the leader of a new partition a moment before it leads: tried again, in order.
        return KafkaProducer(bootstrap_servers=self.stack.kafka.address, linger_ms=5, retries=100,
                             max_in_flight_requests_per_connection=1,
                             request_timeout_ms=120_000,  # its checksums are Python's, too
                             **{"max_request_size": 20_000_000} | options)

    def publish(self, values, keys=None):
        """Publishes events in order, each under its account's key, or under the keys given."""
        with closing(self.producer()) as producer:
            sent = []
            for index, value in enumerate(values):
                key = keys[index] if keys else str(json.loads(value)["account_id"]).encode()
                sent.append(producer.send(self.topic, value, key))
            producer.flush()
            for one in sent:
                one.get(0)  # or it raises why Kafka does not have it

    def publish_to(self, partition, key, value, **more):
        """One message to one partition, whatever its key. Its offset."""
        with closing(self.producer()) as producer:
            return producer.send(self.topic, value, key, partition=partition, **more).get(30).offset

    def publish_transaction(self, values, commit):
        """Events of account 1 in a Kafka transaction. (kafka-python has no transactions.)"""
        producer = confluent_kafka.Producer({"bootstrap.servers": self.stack.kafka.address,
                                             "transactional.id": self.topic,
                                             "partitioner": "murmur2_random"})
        producer.init_transactions(30)
        producer.begin_transaction()
        for value in values:
            producer.produce(self.topic, value, b"1")
        producer.flush(30)
        if commit:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)

    def make_topic_anew(self, partitions, seen_by=None):
        """Another log under the same name; `seen_by`: after this instance has seen that the old one is
        gone (one that has not may read on for some seconds)."""
        self.stack.kafka.delete_topic(self.topic)
        if seen_by:
            eventually(lambda: "the topic went away" in seen_by.log, what="it sees that it is gone")
        assert self.stack.kafka.create_topic(self.topic, partitions), "the old one is gone"

    def messages(self, partition):
        """All messages, as (offset, key, value, time). Not for logs with transactions: kafka-python
        does not know which were aborted."""
        return list(read_log(self.stack.kafka.address, self.topic, partition))

    def log_ends(self):
        where = [TopicPartition(self.topic, partition) for partition in range(self.partitions)]
        with closing(KafkaConsumer(bootstrap_servers=self.stack.kafka.address)) as consumer:
            ends = consumer.end_offsets(where)
        return [ends[one] for one in where]

    def partition_of(self, account):
        return partition_of(str(account).encode(), self.partitions)

    def account_in(self, partition, number=0):
        """The number-th account whose key belongs to a partition."""
        accounts = (account for account in range(1, 1_000_000)
                    if self.partition_of(account) == partition)
        for _ in range(number):
            next(accounts)
        return next(accounts)

    # MySQL and Redis

    @contextmanager
    def mysql(self, **options):
        mysql = self.stack.mysql
        with closing(pymysql.connect(host="127.0.0.1", port=mysql.port, user=mysql.user,
                                     password=mysql.password, database=self.database,
                                     autocommit=True, **options)) as connection:
            yield connection

    def sql(self, statement, *values):
        """The rows of a statement as dictionaries."""
        with self.mysql(cursorclass=pymysql.cursors.DictCursor) as connection:
            with connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return cursor.fetchall()

    @property
    def redis(self):
        return redis.Redis(port=self.stack.redis.port, decode_responses=True)

    def next_offsets(self):
        rows = self.sql("SELECT kafka_partition, next_offset FROM partition_offsets "
                        "ORDER BY kafka_partition")
        return [row["next_offset"] for row in rows]

    def wait_consumed(self, timeout_s=60):
        """Until everything that is in the log now is in the database."""
        ends = self.log_ends()
        eventually(lambda: all(next_offset >= end for next_offset, end
                               in zip(self.next_offsets(), ends, strict=False))
                   and len(self.next_offsets()) == self.partitions,
                   timeout_s, f"next_offset reaches {ends}")

    # The oracle

    def oracle(self):
        """The plain ledger's view of the whole log."""
        oracle = Oracle(self.partitions)
        for partition in range(self.partitions):
            for offset, key, value, timestamp in self.messages(partition):
                oracle.feed(partition, offset, key, value, timestamp)
        return oracle

    def assert_equals_oracle(self, oracle=None, redis=True):
        """Journal, dead letters and balances row by row; Redis key by key, a moment later."""
        oracle = oracle or self.oracle()
        self.assert_journal(oracle)
        self.assert_dead_letters(oracle)
        self.assert_balances(oracle)
        if redis:
            eventually(lambda: self.redis_balances() == self.expected_redis(oracle),
                       what="Redis equal to the oracle")
        return oracle

    def assert_journal(self, oracle):
        found = {(row["kafka_partition"], row["kafka_offset"]): journal_row(row)
                 for row in self.sql("SELECT * FROM balance_transactions")}
        expected = {place: expected_row(row) for place, row in oracle.rows.items()}
        assert_same(found, expected, "journal")

    def assert_dead_letters(self, oracle):
        found = {(row["kafka_partition"], row["kafka_offset"]): dead_letter(row)
                 for row in self.sql("SELECT * FROM dead_letters")}
        assert_same(found, oracle.dead, "dead letters")

    def assert_balances(self, oracle):
        found = {(row["account_id"], row["currency_code"]): balance_row(row)
                 for row in self.sql("SELECT * FROM account_balances")}
        expected = {key: expected_balance(one) for key, one in oracle.balances.items()}
        assert_same(found, expected, "balances")

    def redis_balances(self):
        client = self.redis
        keys = list(client.scan_iter("balance:*", count=10000))
        pipe = client.pipeline(transaction=False)
        for key in keys:
            pipe.hmget(key, "available", "frozen", "version")
        return dict(zip(keys, map(tuple, pipe.execute()), strict=True))

    def redis_of_mysql(self):
        """What Redis ought to hold by the database's balances."""
        return {f"balance:{{{row['account_id']}}}:{row['currency_code']}":
                (plain(row["available"]), plain(row["frozen"]), str(row["version"]))
                for row in self.sql("SELECT * FROM account_balances WHERE version > 0")}

    @staticmethod
    def expected_redis(oracle):
        return {f"balance:{{{account}}}:{currency}":
                (plain(one.available), plain(one.frozen), str(one.version))
                for (account, currency), one in oracle.balances.items() if one.version > 0}


def read_log(address, topic, partition):
    """The messages of a partition, as far as it goes now: (offset, key, value, time)."""
    where = TopicPartition(topic, partition)
    with closing(KafkaConsumer(bootstrap_servers=address, enable_auto_commit=False,
                               consumer_timeout_ms=10000, check_crcs=False,  # in Python: slow
                               max_partition_fetch_bytes=20_000_000)) as consumer:
        consumer.assign([where])
        begin = consumer.beginning_offsets([where])[where]
        end = consumer.end_offsets([where])[where]
        consumer.seek(where, begin)
        while consumer.position(where) < end:
            for batch in consumer.poll(1000, max_records=5000).values():
                yield from ((m.offset, m.key, m.value, m.timestamp) for m in batch
                            if m.offset < end)


# Rows of the database, and what the oracle expects there, in the same form.


def journal_row(row):
    return (row["transaction_id"], row["account_id"], row["currency_code"], row["type"],
            row["amount"], row["status"], row["reason"], row["available_after"],
            row["frozen_after"], row["prev_offset"])


def expected_row(row):
    return (row.event.transaction_id, row.event.account, row.event.currency, row.event.type,
            row.event.amount, row.status, row.reason, row.available_after, row.frozen_after,
            row.prev_offset)


def dead_letter(row):
    return row["reason"], row["message_key"], row["message_value"]


def balance_row(row):
    return (row["available"], row["frozen"], row["version"], row["last_offset"],
            row["kafka_partition"])


def expected_balance(one):
    return one.available, one.frozen, one.version, one.last_offset, one.partition


def plain(amount):
    """A plain decimal without trailing zeros."""
    text = format(Decimal(amount), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def assert_same(found, expected, what):
    if found == expected:
        return
    missing = sorted(expected.keys() - found.keys())[:5]
    extra = sorted(found.keys() - expected.keys())[:5]
    wrong = [(key, found[key], expected[key]) for key in found.keys() & expected.keys()
             if found[key] != expected[key]][:5]
    raise AssertionError(f"{what}: missing {missing}, too many {extra}, "
                         f"(where, found, expected) {wrong}")
