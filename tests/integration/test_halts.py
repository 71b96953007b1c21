"""What only a person may decide halts a partition, says why, and nobody takes it."""

import signal
import time

import pytest

from harness import event, eventually


def halted_reason(ledger, partition=0):
    rows = ledger.sql("SELECT halted_reason FROM partition_offsets WHERE kafka_partition = %s", partition)
    return rows[0]["halted_reason"] if rows else None


def wait_halted(ledger, partition=0, timeout_s=60):
    return eventually(lambda: halted_reason(ledger, partition), timeout_s, "a halt")


def not_ready(one, why):
    status, body = one.get("/readyz")
    return status == 503 and f"not ready: {why}" in body


def assert_stays_halted(ledger, one, seconds=3):
    before = ledger.next_offsets()
    ledger.publish([event(f"later-{time.time()}", account) for account in range(1, 20)])
    time.sleep(seconds)
    assert ledger.next_offsets() == before
    eventually(lambda: not_ready(one, "halted: 1"), what="/readyz says so")
    assert one.process.poll() is None


def test_beginning_of_the_log_is_gone(make_ledger):
    """next_offset is no longer in the log: events may be lost."""
    ledger = make_ledger(1)
    one = ledger.start()
    ledger.publish([event("a", 1)])
    ledger.wait_consumed()
    assert one.stop() == 0
    ledger.publish([event(f"i{number}", 1) for number in range(10)])
    ledger.stack.kafka.delete_records(ledger.topic, 0, 5)
    two = ledger.start("two", wait=False)
    reason = wait_halted(ledger)
    assert "next_offset is 1" in reason and "begins at 5" in reason
    assert "OPERATIONS" in reason
    assert ledger.next_offsets() == [1]
    eventually(lambda: two.metric("ledger_partition_state", partition=0, state="halted") == 1,
               what="its state is halted")
    assert_stays_halted(ledger, two)


def test_log_that_never_began_at_zero(make_ledger):
    ledger = make_ledger(1)
    ledger.publish([event("a", 1), event("b", 1)])
    ledger.stack.kafka.delete_records(ledger.topic, 0, 1)
    ledger.start(wait=False)
    assert "next_offset is 0" in wait_halted(ledger)


def test_deleted_records_that_were_consumed_are_no_matter(make_ledger):
    ledger = make_ledger(1)
    one = ledger.start()
    ledger.publish([event(f"i{number}", 1) for number in range(10)])
    ledger.wait_consumed()
    assert one.stop() == 0
    ledger.stack.kafka.delete_records(ledger.topic, 0, -1)
    ledger.start("two")
    ledger.publish([event("after", 1)])
    ledger.wait_consumed()
    assert len(ledger.sql("SELECT * FROM balance_transactions")) == 11


@pytest.mark.parametrize("running", [False, True])
def test_topic_made_anew(make_ledger, running):
    """Another log under the same name, as long as the old one: its message is another."""
    ledger = make_ledger(1)
    one = ledger.start()
    ledger.publish([event(f"old-{number}", 1) for number in range(3)])
    ledger.wait_consumed()
    if not running:
        assert one.stop() == 0
    ledger.make_topic_anew(1, seen_by=one if running else None)
    ledger.publish([event(f"new-{number}", 1) for number in range(5)])
    if not running:
        ledger.start("two", wait=False)
    assert "OPERATIONS" in wait_halted(ledger, timeout_s=90)
    ids = [row["transaction_id"] for row in ledger.sql("SELECT * FROM balance_transactions")]
    assert sorted(ids) == ["old-0", "old-1", "old-2"]


def test_topic_grows_while_it_is_consumed(ledger):
    """Accounts would move between partitions: all halt, and nothing becomes WRONG_PARTITION."""
    one = ledger.start()
    ledger.publish([event(f"a{account}", account) for account in range(1, 21)])
    ledger.wait_consumed()
    ledger.stack.kafka.grow_topic(ledger.topic, 3)
    keys = [str(account).encode() for account in range(1, 200)]
    with_three = [(key, event(f"b{int(key)}", int(key))) for key in keys]
    from oracle import partition_of
    for key, value in with_three:
        if partition_of(key, 3) < 2 and partition_of(key, 3) != partition_of(key, 2):
            ledger.publish_to(partition_of(key, 3), key, value)
    for partition in (0, 1):
        reason = wait_halted(ledger, partition, 90)
        assert "3 partitions" in reason and "records 2" in reason
    assert not ledger.sql("SELECT * FROM dead_letters")
    assert one.process.poll() is None


def test_missing_table_halts(make_ledger):
    """A person's matter is no retry for ever; the message names the remedy."""
    ledger = make_ledger(1)
    one = ledger.start()
    ledger.publish([event("a", 1)])
    ledger.wait_consumed()
    ledger.sql("RENAME TABLE account_balances TO hidden")
    ledger.publish([event("b", 1)])
    reason = wait_halted(ledger)
    assert "account_balances" in reason
    assert len(ledger.sql("SELECT * FROM balance_transactions")) == 1
    eventually(lambda: "halted" in one.log, what="it is told")
    ledger.sql("RENAME TABLE hidden TO account_balances")


def make_anew_behind_its_back(ledger, one, count):
    """Deletes the topic and makes it anew with so many events, while this instance cannot see it."""
    one.signal(signal.SIGSTOP)
    ledger.make_topic_anew(1)
    ledger.publish([event(f"new-{number}", 1) for number in range(count)])
    one.signal(signal.SIGCONT)


@pytest.mark.parametrize("old", [1, 3])
@pytest.mark.parametrize("restarted", [False, True])
def test_topic_made_anew_under_a_running_owner(make_ledger, old, restarted):
    """It reads on in the new log, and notices by itself: also where nothing but the newest row was read
    of the old one, and where that is its first message."""
    ledger = make_ledger(1)
    one = ledger.start()
    ledger.publish([event(f"old-{number}", 1) for number in range(old)])
    ledger.wait_consumed()
    if restarted:
        assert one.stop() == 0
        one = ledger.start("two")
    make_anew_behind_its_back(ledger, one, old + 5)
    reason = wait_halted(ledger)
    assert "another message at offset 0" in reason and "Another log" in reason
    assert "is not the one that was read" in one.log
    assert_stays_halted(ledger, one)


def test_topic_made_anew_before_an_owner_that_was_not_told(make_ledger):
    """The new log was already read on when the owner died: its rows agree with it, older ones do not."""
    ledger = make_ledger(1)
    one = ledger.start()
    ledger.publish([event(f"old-{number}", 1) for number in range(3)])
    ledger.wait_consumed()
    make_anew_behind_its_back(ledger, one, 8)
    eventually(lambda: ledger.next_offsets() == [8] or halted_reason(ledger),
               what="read on, or halted")
    one.stop()
    ledger.start("two", wait=False)
    assert "Another log" in wait_halted(ledger)


@pytest.mark.parametrize("statement", [
    "UPDATE account_balances SET last_offset = 1000",
    "UPDATE account_balances SET last_offset = -7",
    "UPDATE account_balances SET version = 1 << 60",
    "UPDATE partition_offsets SET redis_offset = next_offset + 1",
    "UPDATE partition_offsets SET redis_offset = -1",
])
def test_values_that_ledgerd_never_writes(make_ledger, statement):
    """What somebody else wrote halts its partition; the process and the others go on."""
    ledger = make_ledger(2)
    one = ledger.start()
    here, there = ledger.account_in(0), ledger.account_in(1)
    ledger.publish([event("a", here)])
    ledger.wait_consumed()
    assert one.stop() == 0
    ledger.sql(f"{statement} WHERE kafka_partition = 0")
    two = ledger.start("two", wait=False)
    ledger.publish([event("b", here), event("c", there)])
    assert wait_halted(ledger, 0)
    eventually(lambda: ledger.next_offsets()[1] == 1, what="the other partition goes on")
    assert two.process.poll() is None
