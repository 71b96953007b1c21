"""Many partitions in one process: they share threads and connections, and none waits for another."""

import time
from pathlib import Path

from harness import event, eventually, random_events

PARTITIONS = 32
FLUSHERS = 3
TTL_MS = 3000
OTHER_CONNECTIONS = 3  # leases, rebuilds of Redis, and a question of /status


def thread_name(task):
    try:
        return (task / "comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return None


def threads(instance, name):
    tasks = Path(f"/proc/{instance.process.pid}/task").iterdir()
    return sum(thread_name(task) == name for task in tasks)


def connections(ledger, cursor):
    """Those of others than the cursor's."""
    cursor.execute("SELECT COUNT(*) FROM information_schema.processlist WHERE db = %s "
                   "AND id != CONNECTION_ID()", ledger.database)
    return cursor.fetchone()[0]


def test_partitions_share_threads_and_connections(make_ledger):
    ledger = make_ledger(PARTITIONS, consumer_flushers=FLUSHERS)
    one = ledger.start("one", wait=False).wait_ready(90)
    assert threads(one, "worker") == PARTITIONS
    most = 0
    with ledger.mysql() as mysql, mysql.cursor() as cursor:  # none of ours that is just being closed
        for seed in range(5):
            ledger.publish(random_events(4000, seed=seed, prefix=f"s{seed}"))
            most = max(most, connections(ledger, cursor))
    ledger.wait_consumed()
    assert threads(one, "flusher") == FLUSHERS
    assert 0 < most <= 2 * FLUSHERS + OTHER_CONNECTIONS
    ledger.assert_equals_oracle()


def test_a_locked_partition_holds_up_no_other(make_ledger):
    """More partitions wait for a row's lock than there are flushers."""
    ledger = make_ledger(8, consumer_flushers=2)
    one = ledger.start("one")
    accounts = [ledger.account_in(partition) for partition in range(8)]
    with ledger.mysql() as mysql, mysql.cursor() as cursor:
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")  # not the row behind
        cursor.execute("START TRANSACTION")
        cursor.execute("SELECT * FROM partition_offsets WHERE kafka_partition < 7 FOR UPDATE")
        ledger.publish([event(f"locked-{n}", accounts[n]) for n in range(7)])
        eventually(lambda: one.metric("ledger_mysql_retries_total", errno="1205") >= 7,
                   what="each has had its first try")
        for number in range(5):
            ledger.publish([event(f"free-{number}", accounts[7])])
            begin = time.monotonic()
            eventually(lambda: ledger.next_offsets()[7] == number + 1, what="the free one goes on")
            assert time.monotonic() - begin < 2
        assert ledger.next_offsets()[:7] == [0] * 7
        mysql.rollback()
    ledger.wait_consumed()
    ledger.assert_equals_oracle()


def test_a_stop_does_not_wait_for_a_lock(make_ledger):
    """The leases are renewed all the time, so only the lease's time ends it."""
    ledger = make_ledger(8, consumer_flushers=2, lease_ttl_ms=TTL_MS)
    one = ledger.start("one")
    accounts = [ledger.account_in(partition) for partition in range(8)]
    with ledger.mysql() as mysql, mysql.cursor() as cursor:
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        cursor.execute("START TRANSACTION")
        cursor.execute("SELECT * FROM partition_offsets WHERE kafka_partition < 3 FOR UPDATE")
        ledger.publish([event(f"early-{n}", accounts[n]) for n in range(8)])
        eventually(lambda: one.metric("ledger_mysql_retries_total", errno="1205") >= 3,
                   what="each has had its first try")
        begin = time.monotonic()
        assert one.stop(timeout_s=60) == 0
        assert time.monotonic() - begin < 2 * TTL_MS / 1000 + 5  # 5: the last lock wait, Redis
        assert one.log.count("could not be flushed in time") == 3
        assert one.log.count("its last flush did not end before the lease was given up") == 3
        assert "the lease was not renewed in time" not in one.log
        assert ledger.next_offsets() == [0] * 3 + [1] * 5
        mysql.rollback()
    ledger.start("two")
    ledger.wait_consumed()
    ledger.assert_equals_oracle()


def transactions(ledger):
    return int(ledger.sql("SHOW GLOBAL STATUS LIKE 'Com_commit'")[0]["Value"])


def test_small_flushes_share_a_transaction(make_ledger):
    """Fewer transactions than flushes, with events of all fates; and what is known is replaced."""
    ledger = make_ledger(16)
    one = ledger.start()
    events = random_events(3000, seed=5)
    before = transactions(ledger)
    for first in range(0, len(events), 50):
        ledger.publish(events[first:first + 50])
        time.sleep(0.02)
    ledger.wait_consumed()
    used = transactions(ledger) - before
    flushes = one.metric("ledger_flush_events_count")
    assert flushes > 100
    assert used < flushes * 0.8
    ledger.assert_equals_oracle()
    ledger.run("verify", "--from-kafka")
