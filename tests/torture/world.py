"""Everything that is tortured: servers behind proxies, instances, producers.

For the harness it is what a stack is: `kafka`, `redis` and `mysql` are the servers themselves,
without a proxy; `mysql` is whichever is the primary. The instances and Kafka's clients go through
the proxies.
"""

import os
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from databases import Databases
from harness import Ledger
from producer import Producer
from proxy import Proxy

PARTITIONS = 4
INSTANCES = ("one", "two", "three")
PRODUCERS = ("a", "b")
ACCOUNTS = 5000
TTL_MS = 3000
STOP_S = 60
JAVA_OPTIONS = "-XX:TieredStopAtLevel=1"  # Kafka dies before better code would pay
OPTIONS = {  # small, so that everything that has a limit meets it
    "lease_ttl_ms": TTL_MS, "consumer_batch_max_events": 2000, "consumer_memory_max": "256M",
    "consumer_batch_max_bytes": "2M", "consumer_dedupe_ids": 20000, "consumer_dedupe_prime": 2000,
    "kafka_fetch_buffer": "4M", "redis_pending_max": 2000, "redis_check_interval_ms": 500,
    "consumer_poll_idle_ms": 200}


class World:
    def __init__(self, folder, seed, rate):
        self.folder = folder
        self.seed = seed
        self.rate = rate
        self.proxies = {}
        self.producers = []
        self.running = {}     # name of an instance: the harness's Instance
        self.said = {}        # name of an instance: bytes in its log when it was started
        self.lock = threading.Lock()
        self.failures = []    # what must not happen and did, in words
        self.lives = 0
        self.away_s = {"kafka": 0.0, "mysql": 0.0, "redis": 0.0}  # the longest, after a SIGKILL
        self.ledger = None
        self.databases = Databases(folder, kafka_heap="512M")

    def start(self):
        os.environ["JAVA_TOOL_OPTIONS"] = JAVA_OPTIONS
        stack = self.databases.stacks[0]
        self.proxies = {name: Proxy(stack.services[name].port)
                        for name in ("kafka", "mysql", "redis")}
        stack.settings.kafka_options["advertised.listeners"] = f"PLAINTEXT://{self.kafka_proxy}"
        with ThreadPoolExecutor() as pool:
            for started in [pool.submit(self.databases.start), pool.submit(stack.redis.start),
                            pool.submit(stack.kafka.start)]:
                started.result()
        self.ledger = Ledger(self, self.folder, PARTITIONS, **OPTIONS)
        for name in INSTANCES:
            self.start_instance(name)
        self.producers = [
            Producer(bootstrap=self.kafka_proxy, topic=self.ledger.topic, partitions=PARTITIONS,
                     seed=f"{self.seed}-{name}", name=name, rate=self.rate / len(PRODUCERS),
                     accounts=ACCOUNTS) for name in PRODUCERS]

    # What the harness expects of a stack

    @property
    def kafka(self):
        return self.databases.stacks[0].kafka

    @property
    def redis(self):
        return self.databases.stacks[0].redis

    @property
    def mysql(self):
        return self.databases.primary.mysql

    @property
    def kafka_proxy(self):
        return f"127.0.0.1:{self.proxies['kafka'].port}"

    def environment(self):
        stack = self.databases.stacks[0]
        return stack.environment() | {
            "LEDGERD_KAFKA_BOOTSTRAP_SERVERS": self.kafka_proxy,
            "LEDGERD_MYSQL_PORT": self.proxies["mysql"].port,
            "LEDGERD_REDIS_PORT": self.proxies["redis"].port,
            "UBSAN_OPTIONS": "print_stacktrace=1:" + os.environ.get("UBSAN_OPTIONS", "")}

    def sql(self, text):
        """As the administrator, to the primary, in the ledger's database."""
        return self.mysql.sql(text, self.ledger.database)

    # Instances

    def start_instance(self, name):
        said = self.log_size(name)
        instance = self.ledger.start(name, wait=False)
        with self.lock:
            self.lives += 1
            self.said[name] = said
            self.running[name] = instance

    def take(self, name):
        """The instance, which may end from now on."""
        with self.lock:
            return self.running.pop(name)

    def dead(self):
        """Those that ended by themselves; each is told once."""
        with self.lock:
            ended = [name for name, instance in self.running.items()
                     if instance.process.poll() is not None]
            return [self.running.pop(name) for name in ended]

    def stop_instance(self, name):
        """SIGTERM, which must end it in time and with 0, unless it came before the program."""
        instance = self.take(name)
        try:
            status = instance.stop(STOP_S)
        except subprocess.TimeoutExpired:
            status = f"none {STOP_S} s after SIGTERM"
        early = status == -signal.SIGTERM and self.log_size(name) == self.said[name]
        if status != 0 and not early:
            self.fail(f"{name} ended with {status} after SIGTERM:\n{instance.log[-3000:]}")

    def log_size(self, name):
        log = self.folder / f"{name}.log"
        return log.stat().st_size if log.exists() else 0

    def fail(self, text):
        self.failures.append(text)

    # Events

    @property
    def sent(self):
        return sum(producer.told["sent"] for producer in self.producers)

    @property
    def acknowledged_ends(self):
        """Behind the newest acknowledged message of each partition."""
        return [max(ends) for ends in zip(*(producer.told["ends"] for producer in self.producers),
                                          strict=True)]

    def stop_producers(self):
        for producer in self.producers:
            status = producer.close()
            if status != 0:
                self.fail(f"a producer ended with {status}")

    def has_moved(self):
        """A condition: every partition has consumed something that was published from now on."""
        before = self.acknowledged_ends
        ends = []

        def moved():
            now = self.acknowledged_ends
            if not ends and all(a > b for a, b in zip(now, before, strict=True)):
                ends.extend(now)
            return ends and self.has_consumed(ends)

        return moved

    def has_consumed(self, ends):
        try:
            offsets = self.ledger.next_offsets()
        except Exception:  # noqa: BLE001 any failure of a server that is being tortured
            return False
        return len(offsets) == len(ends) and all(a >= b for a, b in zip(offsets, ends, strict=True))

    def close(self):
        for producer in self.producers:
            with suppress(OSError, ValueError):
                producer.close()
        for instance in self.running.values():
            instance.kill()
        for proxy in self.proxies.values():
            proxy.close()
        self.databases.close()
