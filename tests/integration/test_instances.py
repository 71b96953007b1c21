"""Several instances: sharing, handing over, dying, sleeping, and never two owners of one partition."""

import signal
import threading
import time

import pytest

from harness import event, eventually, random_events

TTL_MS = 4000
LONG_TTL_MS = 40000  # no lease lapses meanwhile, however slow the machine is


def owners(ledger):
    """{partition: consumer id} of the leases that are held, by the server's clock."""
    rows = ledger.sql("SELECT id, consumer_id FROM leader_locks WHERE expires_at > UTC_TIMESTAMP(6)")
    return {row["id"]: row["consumer_id"] for row in rows}


def owned(ledger, name):
    return sorted(partition for partition, owner in owners(ledger).items() if owner == name)


def publish_beside(ledger, events, pieces=20, pause_s=0.1):
    """Publishes while the test goes on."""
    size = max(1, len(events) // pieces)

    def publish():
        for start in range(0, len(events), size):
            ledger.publish(events[start:start + size])
            time.sleep(pause_s)

    thread = threading.Thread(target=publish)
    thread.start()
    return thread


def test_partitions_are_shared_evenly(make_ledger):
    ledger = make_ledger(4, lease_ttl_ms=LONG_TTL_MS)
    one = ledger.start("one")
    assert owned(ledger, "one") == [0, 1, 2, 3]
    two = ledger.start("two", wait=False)
    eventually(lambda: len(owned(ledger, "one")) == len(owned(ledger, "two")) == 2,
               what="two partitions each")
    ledger.publish(random_events(2000))
    ledger.wait_consumed()
    assert one.metric("ledger_fenced_total") == two.metric("ledger_fenced_total") == 0
    begin = time.monotonic()
    assert one.stop() == 0
    eventually(lambda: owned(ledger, "two") == [0, 1, 2, 3], what="two takes over at once")
    assert time.monotonic() - begin < LONG_TTL_MS / 1000 / 2, "a clean stop need not wait for the TTL"
    ledger.publish(random_events(2000, seed=2, prefix="s"))
    ledger.wait_consumed()
    ledger.assert_equals_oracle()


def test_partitions_that_an_instance_may_own(make_ledger):
    ledger = make_ledger(4, lease_ttl_ms=LONG_TTL_MS)
    ledger.start("some", wait=False, consumer_partitions="[1, 3]")
    eventually(lambda: owned(ledger, "some") == [1, 3], what="the two it may own")
    time.sleep(2)
    assert owners(ledger) == {1: "some", 3: "some"}
    ledger.start("all", wait=False)
    eventually(lambda: owned(ledger, "all") == [0, 2], what="the others")


@pytest.mark.load
def test_kill_in_the_middle_of_a_load(make_ledger):
    """The survivor commits within TTL + 2 s by the server's clock; nothing is lost or doubled."""
    ledger = make_ledger(2, lease_ttl_ms=TTL_MS, consumer_batch_max_events=200)
    victim = ledger.start("victim")
    ledger.start("heir", wait=False)
    eventually(lambda: owned(ledger, "victim") and owned(ledger, "heir"), what="one partition each")
    partition, = owned(ledger, "victim")
    publisher = publish_beside(ledger, random_events(10_000), pause_s=0.3)
    eventually(lambda: ledger.next_offsets()[partition] > 500, what="the load is under way")
    victim.kill()
    killed, = ledger.sql("SELECT UTC_TIMESTAMP(6) AS now")
    before = ledger.next_offsets()[partition]
    eventually(lambda: ledger.next_offsets()[partition] > before, what="the heir commits", every_s=0.02)
    done, = ledger.sql("SELECT UTC_TIMESTAMP(6) AS now")
    assert (done["now"] - killed["now"]).total_seconds() < TTL_MS / 1000 + 2
    publisher.join()
    ledger.wait_consumed()
    ledger.assert_equals_oracle()


@pytest.mark.parametrize("seed", range(4))
def test_sleeper_wakes_too_late(make_ledger, seed):
    """SIGSTOP anywhere in a load, past the lease, and SIGCONT: it must not commit any more."""
    ledger = make_ledger(1, lease_ttl_ms=TTL_MS, consumer_batch_max_events=100)
    sleeper = ledger.start("sleeper")
    heir = ledger.start("heir")
    publisher = publish_beside(ledger, random_events(6000, seed=seed), pause_s=0.4)
    eventually(lambda: ledger.next_offsets()[0] > 200, what="the load is under way")
    time.sleep(0.013 * seed)
    sleeper.signal(signal.SIGSTOP)
    stopped = time.monotonic()
    eventually(lambda: owned(ledger, "heir") == [0], what="the heir owns it")
    before = ledger.next_offsets()[0]
    eventually(lambda: ledger.next_offsets()[0] > before or ledger.next_offsets() == ledger.log_ends(),
               what="the heir commits")
    assert time.monotonic() - stopped < TTL_MS / 1000 + 4
    sleeper.signal(signal.SIGCONT)
    publisher.join()
    ledger.wait_consumed()
    eventually(lambda: "fenced" in sleeper.log, what="the sleeper notices")
    ledger.assert_equals_oracle()
    assert heir.process.poll() is None and sleeper.process.poll() is None


def test_sleeper_inside_a_transaction(make_ledger):
    """Stopped with the partition's row locked: the server ends its session within the TTL."""
    ledger = make_ledger(1, lease_ttl_ms=TTL_MS)
    sleeper = ledger.start("sleeper")
    ledger.publish([event("a", 1)])
    ledger.wait_consumed()
    ledger.start("heir")
    with ledger.mysql() as blocker:
        blocker.begin()
        with blocker.cursor() as cursor:
            cursor.execute("SELECT * FROM account_balances FOR UPDATE")
        ledger.publish([event("b", 1)])
        eventually(lambda: ledger.stack.mysql.sql(
            "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"),
            what="its flush is blocked", every_s=0.01)
        sleeper.signal(signal.SIGSTOP)
        stopped = time.monotonic()
        blocker.rollback()
    eventually(lambda: owned(ledger, "heir") == [0], what="the heir owns it")
    eventually(lambda: ledger.next_offsets() == [2], what="the heir commits")
    assert time.monotonic() - stopped < TTL_MS / 1000 + 4
    sleeper.signal(signal.SIGCONT)
    eventually(lambda: "fenced" in sleeper.log, what="the sleeper notices")
    ledger.publish([event("c", 1)])
    ledger.wait_consumed()
    ledger.assert_equals_oracle()


def test_row_of_the_lease_changed_by_hand(make_ledger):
    """Another epoch in partition_offsets: the owner is fenced, and takes the partition again."""
    ledger = make_ledger(1, lease_ttl_ms=TTL_MS)
    one = ledger.start()
    ledger.publish([event("a", 1)])
    ledger.wait_consumed()
    ledger.sql("UPDATE partition_offsets SET epoch = epoch + 1")
    ledger.publish([event("b", 1)])
    ledger.wait_consumed()
    assert one.metric("ledger_fenced_total") >= 1
    ledger.assert_equals_oracle()


def test_offset_set_back_under_an_idle_owner(make_ledger):
    """As a fail-over to a copy that is behind: noticed without a flush; here rows are left over."""
    ledger = make_ledger(1, lease_ttl_ms=TTL_MS)
    one = ledger.start()
    ledger.publish([event("a", 1), event("b", 1)])
    ledger.wait_consumed()
    ledger.sql("UPDATE partition_offsets SET next_offset = 1")
    eventually(lambda: ledger.sql("SELECT halted_reason FROM partition_offsets")[0]["halted_reason"],
               what="halted: there are rows beyond the offset")
    assert one.metric("ledger_fenced_total") >= 1, "before it was acquired again, and halted"
    eventually(lambda: one.get("/readyz")[0] == 503, what="the leader has seen the halt")


def test_database_goes_back(make_ledger):
    """All tables back to an earlier commit, as after a fail-over: the log fills the gap again."""
    ledger = make_ledger(1, lease_ttl_ms=TTL_MS)
    one = ledger.start()
    ledger.publish(random_events(300))
    ledger.wait_consumed()
    tables = ("balance_transactions", "account_balances", "dead_letters", "partition_offsets")
    for table in tables:
        ledger.sql(f"CREATE TABLE copy_of_{table} AS SELECT * FROM {table}")
    ledger.publish(random_events(300, seed=2, prefix="s"))
    ledger.wait_consumed()
    with ledger.mysql() as connection, connection.cursor() as cursor:
        connection.begin()
        cursor.execute("SELECT * FROM partition_offsets FOR UPDATE")
        for table in tables:
            cursor.execute(f"DELETE FROM {table}")
            cursor.execute(f"INSERT INTO {table} SELECT * FROM copy_of_{table}")
        connection.commit()
    eventually(lambda: one.metric("ledger_fenced_total") >= 1, what="noticed")
    ledger.wait_consumed()
    ledger.assert_equals_oracle()


def test_stop_while_mysql_is_away(make_ledger):
    """SIGTERM ends within about the TTL even if no lease can be released."""
    ledger = make_ledger(1, lease_ttl_ms=TTL_MS)
    one = ledger.start()
    ledger.stack.stop("mysql")
    begin = time.monotonic()
    assert one.stop(timeout_s=TTL_MS / 1000 + 12) == 0
    assert time.monotonic() - begin < TTL_MS / 1000 + 10
    ledger.stack.start("mysql")
