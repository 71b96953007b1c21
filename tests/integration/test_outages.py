"""Servers that stop, restart and forget; a process that dies at the worst moments."""

import os
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import confluent_kafka
import pytest

from harness import LEDGERD, event, eventually, random_events
from test_instances import owned

TTL_MS = 4000
HANG_TTL_MS = 6000
# A lease's time, a log-in that nobody can interrupt (a third of it), and a slow machine.
GIVES_UP_S = HANG_TTL_MS / 1000 * 4 / 3 + 3


@pytest.mark.parametrize("service", ["mysql", "kafka", "redis"])
@pytest.mark.parametrize("how", ["stop", "kill", "pause"])
def test_server_goes_and_comes_back(make_ledger, service, how):
    """Nothing transient becomes an outcome: it waits, and goes on by itself."""
    ledger = make_ledger(2, lease_ttl_ms=TTL_MS, consumer_batch_max_events=100)
    one = ledger.start()
    ledger.publish(random_events(500))
    ledger.wait_consumed()
    if service != "kafka":
        getattr(ledger.stack, how)(service)
        ledger.publish(random_events(1500, seed=2, prefix="s"))
    else:
        ledger.publish(random_events(1500, seed=2, prefix="s"))
        getattr(ledger.stack, how)(service)
    time.sleep(TTL_MS / 1000 + 1)
    assert one.process.poll() is None
    if service == "redis":
        ledger.wait_consumed()  # Redis never holds the ledger up
    ledger.stack.start(service)
    ledger.wait_consumed(60)
    ledger.assert_equals_oracle()
    assert one.process.poll() is None
    eventually(one.is_ready, what="ready again")


@contextmanager
def load(ledger):
    """Events from another process, many a second, for as long as the block lasts."""
    producer = subprocess.Popen([LEDGERD, "produce", "--generate", "10000000", "--rate", "5000",
                                 "--accounts", "1000"],
                                env=ledger.environment | {  # which kafka-python can read
                                    "LEDGERD_KAFKA_PROPERTIES": "{compression.type: none}"},
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        before = ledger.next_offsets()
        eventually(lambda: min(ledger.next_offsets()) > max(before) + 1000,
                   what="under load")
        yield
    finally:
        producer.kill()
        producer.wait()


@pytest.mark.parametrize("moment", ["loaded", "idle", "long_ago"])
def test_stop_while_mysql_hangs(make_ledger, moment):
    """Connected, but silent: the end does not wait for statements, but for the leases at most."""
    ledger = make_ledger(2, lease_ttl_ms=HANG_TTL_MS, consumer_batch_max_events=500)
    one = ledger.start()
    if moment == "loaded":
        with load(ledger):
            ledger.stack.pause("mysql")
    else:
        ledger.publish(random_events(500))
        ledger.wait_consumed()
        ledger.stack.pause("mysql")
    if moment == "long_ago":
        time.sleep(2 * HANG_TTL_MS / 1000)
    begin = time.monotonic()
    assert one.stop(timeout_s=60) == 0
    assert time.monotonic() - begin < GIVES_UP_S
    ledger.stack.resume("mysql")
    ledger.start("two")
    ledger.wait_consumed()
    ledger.assert_equals_oracle()


def test_lease_lost_while_mysql_hangs(make_ledger):
    """The workers end while it still hangs; whoever comes first afterwards goes on."""
    ledger = make_ledger(2, lease_ttl_ms=HANG_TTL_MS, consumer_batch_max_events=500)
    one = ledger.start()
    two = ledger.start("two", wait=False)
    eventually(lambda: owned(ledger, "one") and owned(ledger, "two"), what="shared")
    eventually(lambda: one.is_ready() and two.is_ready(), what="both have got what they own")
    with load(ledger):
        ledger.stack.pause("mysql")
        begin = time.monotonic()
        eventually(lambda: "lease given up" in one.log and "lease given up" in two.log,
                   60, "both have dropped their partitions")
        assert time.monotonic() - begin < GIVES_UP_S
        assert one.get("/healthz")[0] == 200
    assert one.stop(timeout_s=60) == 0
    ledger.stack.resume("mysql")
    ledger.wait_consumed()
    ledger.assert_equals_oracle()
    assert two.process.poll() is None


def test_start_before_the_servers(make_ledger):
    """A daemon that starts first waits for them."""
    ledger = make_ledger(1)
    ledger.publish([event("a", 1)])
    ledger.stack.stop("mysql", "redis")
    one = ledger.start(wait=False)
    eventually(lambda: "waiting for the servers" in one.log, what="it waits")
    assert one.get("/readyz")[0] == 503 and one.get("/healthz")[0] == 200
    ledger.stack.start("mysql", "redis")
    one.wait_ready()
    ledger.wait_consumed()
    ledger.assert_equals_oracle()


def test_redis_emptied_while_running(ledger):
    ledger.start()
    ledger.publish(random_events(500))
    ledger.wait_consumed()
    oracle = ledger.assert_equals_oracle()
    ledger.redis.flushall()
    eventually(lambda: ledger.redis_balances() == ledger.expected_redis(oracle),
               what="Redis filled again")


def test_redis_lost_while_nobody_looks(ledger):
    """Emptied while ledgerd is down: filled by the next start."""
    one = ledger.start()
    ledger.publish(random_events(500))
    ledger.wait_consumed()
    oracle = ledger.assert_equals_oracle()
    assert one.stop() == 0
    ledger.redis.flushall()
    ledger.start("two")
    eventually(lambda: ledger.redis_balances() == ledger.expected_redis(oracle),
               what="Redis filled again")


def test_kill_between_commit_and_redis(ledger):
    """Redis is silent while flushes are committed; the process dies; the next owner publishes. What
    the first flush sent, a Redis that goes on may still read; the second waits for that answer."""
    one = ledger.start()
    ledger.publish(random_events(300))
    ledger.wait_consumed()
    ledger.assert_equals_oracle()
    ledger.stack.pause("redis")
    for seed in (2, 3):
        ledger.publish(random_events(300, seed=seed, prefix=f"s{seed}"))
        ledger.wait_consumed()
        one.wait_counted()
    one.kill()
    ledger.stack.start("redis")
    behind = ledger.redis_balances()
    oracle = ledger.oracle()
    assert behind != ledger.expected_redis(oracle), "Redis is behind, or this tests nothing"
    ledger.start("two")
    ledger.assert_equals_oracle(oracle)


def test_duplicates_across_restarts_and_the_window(make_ledger):
    """Ids that no memory holds any more are still duplicates: the unique index knows them."""
    ledger = make_ledger(1, consumer_batch_max_events=50, consumer_dedupe_ids=1000,
                         consumer_dedupe_prime=10)
    one = ledger.start()
    first = [event(f"old-{number}", 1 + number % 7, amount="3") for number in range(200)]
    ledger.publish(first)
    ledger.publish([event(f"new-{number}", 1) for number in range(1500)])
    ledger.wait_consumed()
    ledger.publish(first[:100])
    ledger.publish([event("old-150", 1 + 150 % 7, amount="4"), event("fresh", 1)])  # a conflict
    ledger.wait_consumed()
    one.wait_counted()
    assert one.metric("ledger_events_total", result="duplicate") == 100
    assert one.metric("ledger_dead_letters_total", reason="ID_CONFLICT") == 1
    one.kill()
    two = ledger.start("two")
    ledger.publish(first)
    ledger.wait_consumed()
    two.wait_counted()
    assert two.metric("ledger_events_total", result="duplicate") == 200
    ledger.assert_equals_oracle()


def test_balance_changed_by_hand_is_drift(make_ledger):
    """Memory and database differ: counted and told, by sampling, without a restart."""
    ledger = make_ledger(1)
    one = ledger.start()
    ledger.publish([event("a", 1), event("b", 2)])
    ledger.wait_consumed()
    ledger.sql("UPDATE account_balances SET available = available + 1 WHERE account_id = 1")
    eventually(lambda: one.metric("ledger_balance_drift") >= 1, what="drift is counted")
    eventually(lambda: "not what MySQL has" in one.log, what="drift is told")


def test_stop_in_the_first_moments(ledger, tmp_path):
    """A SIGTERM before the configuration is read is not lost, and not a death in mid-air."""
    pipe = tmp_path / "config.yaml"
    os.mkfifo(pipe)
    process = subprocess.Popen([LEDGERD, "run", "-c", pipe], env=ledger.environment,
                               stderr=subprocess.PIPE)
    with open(pipe, "w") as config:  # opens when ledgerd reads
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        config.write("log: {level: info}\n")
    _, log = process.communicate(timeout=30)
    assert process.returncode == 0, log
    assert b"stopping" in log


def test_prefetch_keeps_to_the_memory_plan(make_ledger):
    """kafka.fetch_buffer is more than consumer.memory_max allows: less is fetched ahead."""
    ledger = make_ledger(1, consumer_memory_max="256M", consumer_batch_max_bytes="2M",
                         redis_pending_max=10000, kafka_fetch_buffer="1G",
                         consumer_batch_max_events=10, consumer_flush_interval_min_ms=60000)
    producer = confluent_kafka.Producer({"bootstrap.servers": ledger.stack.kafka.address})
    for _ in range(250):
        producer.produce(ledger.topic, b"x" * 900_000, b"1")
        producer.flush(30)
    one = ledger.start()

    def resident_mib():
        lines = Path(f"/proc/{one.process.pid}/status").read_text().splitlines()
        return [int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS")][0]

    most = 0
    for _ in range(50):
        time.sleep(0.1)
        most = max(most, resident_mib())
    assert most < 160, f"{most} MiB resident, of 225 MB that wait"


@pytest.mark.load
def test_kills_in_a_row(make_ledger):
    """The only instance is killed again and again while events arrive."""
    ledger = make_ledger(2, lease_ttl_ms=3000, consumer_batch_max_events=300)
    events = random_events(6000)
    for number in range(5):
        one = ledger.start(f"life-{number}", wait=False)
        ledger.publish(events[number * 1200:(number + 1) * 1200])
        time.sleep(0.5 + 0.7 * number)
        one.kill()
    ledger.start("last", wait=False)
    ledger.wait_consumed(60)
    ledger.assert_equals_oracle()


@pytest.mark.load
def test_megabytes_of_junk_in_every_message(make_ledger):
    """Memory stays within its plan, every message has its row, and good events go on."""
    ledger = make_ledger(1, consumer_memory_max="256M", consumer_batch_max_bytes="2M",
                         redis_pending_max=10000, kafka_fetch_buffer="4M")
    one = ledger.start()
    junk = [bytes([number]) + b"\x00\t\n\\" * 300_000 for number in range(40)]
    ledger.publish([*junk, event("good", 1)], [b"1"] * (len(junk) + 1))
    ledger.wait_consumed()
    one.wait_counted()
    assert one.metric("ledger_events_total", result="dead_letter") == len(junk)
    assert one.metric("ledger_memory_bytes") <= 256 * 2 ** 20
    ledger.assert_equals_oracle()


def test_full_batch_waits_for_its_time_asleep(make_ledger):
    """flush_interval_min_ms with a backlog: no processor time while the next flush is not due."""
    ledger = make_ledger(1, consumer_flush_interval_min_ms=20000, consumer_batch_max_events=10)
    one = ledger.start()

    def cpu_ticks():
        stat = Path(f"/proc/{one.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(stat[11]) + int(stat[12])

    ledger.publish([event(f"i{number}", 1) for number in range(40)])
    eventually(lambda: ledger.next_offsets()[0] > 0, what="the first flush, of 10 events at most")
    assert ledger.next_offsets()[0] <= 10, "the others, more than a batch, wait"
    time.sleep(0.5)
    before = cpu_ticks()
    time.sleep(2)
    assert cpu_ticks() - before < 0.5 * os.sysconf("SC_CLK_TCK")
    assert one.stop() == 0
