"""Redis changed by hand while ledgerd runs: found by sampling, told, and written again."""

import time

import pytest

from harness import event, eventually, random_events

RIGHT = {"available": "10", "frozen": "0", "version": "2"}
ACCOUNTS = range(1, 8)


def key(account):
    return f"balance:{{{account}}}:USDT"


@pytest.fixture
def running(make_ledger):
    """An instance whose few balances are all in memory; each has been changed twice."""
    ledger = make_ledger(1)
    one = ledger.start()
    ledger.publish([event(f"{kind}-{account}", account, amount=amount)
                    for kind, amount in (("a", "4"), ("b", "6")) for account in ACCOUNTS])
    ledger.wait_consumed()
    ledger.assert_equals_oracle()
    return ledger, one


def fields(ledger, account):
    found = ledger.redis.hgetall(key(account))
    found.pop("updated_at", None)
    return found


def all_right(ledger):
    return all(ledger.redis.type(key(account)) == "hash" and fields(ledger, account) == RIGHT
               for account in ACCOUNTS)


def drift(one):
    return one.metric("ledger_balance_drift")


def test_keys_changed_by_hand_are_found_once_and_mended(running):
    ledger, one = running
    assert drift(one) == 0
    ledger.redis.hset(key(1), "available", "31415926")
    ledger.redis.hset(key(2), "frozen", "0.000000000000000001")
    ledger.redis.hset(key(3), "available", "10.0")
    ledger.redis.hset(key(4), "version", "1")
    ledger.redis.delete(key(5))  # as when the server evicts it
    ledger.redis.set(key(6), "mine")
    eventually(lambda: drift(one) == 6, what="drift is counted")
    eventually(lambda: all_right(ledger), what="all are written again")
    for words in ("not as they were written", "older than what was written", "missing there"):
        eventually(lambda words=words: words in one.log, what=words)
    time.sleep(11)  # two samples
    assert drift(one) == 6
    ledger.assert_equals_oracle()
    assert "31415926" not in one.log and "account" not in one.log


def test_key_that_is_ahead_is_told_and_left_alone(running):
    ledger, one = running
    ledger.redis.hset(key(1), mapping={"available": "99", "version": "3"})
    eventually(lambda: drift(one) >= 2, what="drift is counted as long as it lasts")
    eventually(lambda: "newer than MySQL's" in one.log and "snapshot rebuild" in one.log,
               what="drift is told")
    assert fields(ledger, 1) == RIGHT | {"available": "99", "version": "3"}


def test_redis_that_loses_all_has_not_drifted(running):
    """Emptied again and again, just when a sample is due or not: it is filled, and that is all."""
    ledger, one = running
    for _ in range(5):
        ledger.redis.flushall()
        eventually(lambda: all_right(ledger), what="filled again")
        time.sleep(0.7)
    assert drift(one) == 0


def test_nothing_drifts_under_load(make_ledger):
    """Balances that change while they are sampled, with all that can happen to Redis but tampering."""
    ledger = make_ledger(2, consumer_batch_max_events=50)
    one = ledger.start()
    ledger.publish(random_events(200))
    for number in range(16):
        ledger.publish(random_events(100, seed=number, prefix=f"load-{number}-"))
        if number == 5:
            ledger.redis.flushall()
        if number == 10:
            ledger.stack.kill("redis")
            ledger.stack.start("redis")
        time.sleep(0.5)
    ledger.wait_consumed()
    ledger.assert_equals_oracle()
    time.sleep(6)
    assert drift(one) == 0


def test_key_of_another_type_does_not_block_the_others(running):
    """Somebody's SET at a key of ours: publishing goes on, the key is replaced and counted."""
    ledger, one = running
    ledger.redis.set(key(1), "mine")
    ledger.redis.set(key(20), "mine")
    ledger.publish([event("c-1", 1), event("c-20", 20), event("c-21", 21)])
    ledger.wait_consumed()
    ledger.assert_equals_oracle()
    eventually(lambda: one.metric("ledger_redis_publish_total", result="replaced") == 2,
               what="both are counted")
    eventually(lambda: "another program writes there" in one.log, what="it is told")
