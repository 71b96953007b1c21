"""`ledgerd produce`, seen by a client that shares no code with it; and `ledgerd check-config`."""

import json
import subprocess
import time
from collections import Counter, defaultdict

import pytest

from harness import LEDGERD, event
from oracle import partition_of


PLAIN = {"kafka_properties": "{compression.type: none}"}  # Debian's kafka-python knows no LZ4


@pytest.fixture
def three(make_ledger):
    """A ledger with three partitions, whose instances are not started."""
    return make_ledger(partitions=3, **PLAIN)


def attempt(ledger, *arguments, lines=None, **options):
    """A command with other options than the ledger's: exit status, output, errors."""
    changed = {f"LEDGERD_{key.upper()}": value for key, value in options.items()}
    done = subprocess.run([LEDGERD, *arguments], env=ledger.environment | changed, timeout=120,
                          input="\n".join(lines) if lines else "", capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def all_messages(ledger):
    """[(partition, key, value)] in the order of each partition."""
    return [(partition, key, value) for partition in range(ledger.partitions)
            for _, key, value, _ in ledger.messages(partition)]


def lines_of(count):
    return [event(f"line-{number}", number % 7 + 1).decode() for number in range(count)]


def test_lines_are_published_as_they_stand(three):
    lines = lines_of(500)
    lines[3] = '  {"account_id":"12","amount":1e3,"type":"DEPOSIT","currency":"BTC",' \
               '"transaction_id":"x","note":"\\u00e4"}\t'
    status, said, _ = attempt(three, "produce", lines=[*lines, ""])
    assert status == 0
    assert said.startswith("500 events acknowledged in ")
    found = all_messages(three)
    assert Counter(value.decode() for _, _, value in found) == Counter(lines)
    for partition, key, value in found:
        assert key.decode() == str(json.loads(value)["account_id"])
        assert partition == partition_of(key, 3)
    by_account = defaultdict(list)
    for _, key, value in found:
        by_account[key].append(value.decode())
    for key, values in by_account.items():
        assert values == [line for line in lines
                          if str(json.loads(line)["account_id"]).encode() == key]


def test_nothing_behind_a_bad_line_is_published(three):
    lines = lines_of(40)
    lines[30] = event("bad", 1, amount="-1").decode()
    lines.insert(10, "")  # counts as a line
    status, said, errors = attempt(three, "produce", lines=lines)
    assert status == 1
    assert "line 32 is no balance event: amount" in errors
    assert said.startswith("30 events acknowledged")
    assert len(all_messages(three)) == 30


def test_a_seed_makes_the_same_events(make_ledger):
    one, two = make_ledger(partitions=3, **PLAIN), make_ledger(partitions=3, **PLAIN)
    arguments = ["produce", "--generate", "3000", "--accounts", "50", "--zipf", "1.1", "--seed",
                 "7", "--start-ms", "1767225600000", "--currencies", "USDT,BTC"]
    for ledger in (one, two):
        assert attempt(ledger, *arguments)[0] == 0
    found = all_messages(one)
    assert len(found) == 3000
    assert found == all_messages(two)
    assert all(partition == partition_of(key, 3) for partition, key, _ in found)
    assert {json.loads(value)["currency"] for _, _, value in found} == {"USDT", "BTC"}


def test_shares_are_as_asked_for(three):
    status, said, _ = attempt(three, "produce", "--generate", "20000", "--accounts", "1000",
                              "--duplicates", "0.1", "--malformed", "0.05")
    assert status == 0
    assert said.startswith("20000 events acknowledged")
    oracle = three.oracle()
    assert 0.08 < len(oracle.duplicates) / 20000 < 0.12
    assert 0.03 < len(oracle.dead) / 20000 < 0.07


def test_rate_is_kept(three):
    begin = time.monotonic()
    assert attempt(three, "produce", "--generate", "10", "--rate", "5")[0] == 0
    assert 1.7 < time.monotonic() - begin < 15


def test_a_limited_rate_is_kept_and_waits_for_no_batch(three):
    """Each message is sent when it is due: none before, and, in one of three runs on a busy machine,
    most of them within less than the 10 ms in which an unlimited producer gathers messages."""
    rate, count = 400, 800
    for run in range(3):
        began_ms = time.time() * 1000
        status, _, errors = attempt(three, "produce", "--generate", str(count), "--rate", str(rate))
        assert status == 0, errors
        times = sorted(timestamp for partition in range(three.partitions)
                       for _, _, _, timestamp in three.messages(partition))[run * count:]
        assert len(times) == count
        early = [number for number, time_ms in enumerate(times)
                 if time_ms < int(began_ms) + number * 1000 / rate]
        assert not early
        if len(set(times)) > count / 4:  # one by one, not in bursts
            return
    pytest.fail(f"the {count} messages were sent at {len(set(times))} moments")


@pytest.mark.parametrize(("arguments", "options", "status", "message"), [
    ([], {"kafka_topic": "there-is-none"}, 1, "create the topic there-is-none"),
    ([], {"kafka_bootstrap_servers": '"127.0.0.1:1"'}, 1, "127.0.0.1:1"),
    ([], {"kafka_properties": "{linger.msx: 1}"}, 2, "kafka.properties: linger.msx"),
    ([], {"kafka_properties": "{partitioner: random}"}, 2, "partitioner"),
    (["--generate", "5", "--currencies", "usd"], {}, 2, "usd"),
    (["--generate", "5", "--duplicates", "0.6", "--overdrafts", "0.6"], {}, 2, "together"),
    (["--generate", "five"], {}, 2, "whole number"),
])
def test_what_is_wrong_is_named(ledger, arguments, options, status, message):
    found, _, errors = attempt(ledger, "produce", *arguments, **options)
    assert found == status
    assert message in errors


# check-config

def test_check_config_is_content(ledger):
    ledger.start()
    status, said, _ = attempt(ledger, "check-config")
    assert status == 0, said
    assert [line.split()[:2] for line in said.splitlines()] == [
        ["ok", "file"], ["ok", "kafka"], ["ok", "mysql"], ["ok", "redis"]]


@pytest.mark.parametrize(("options", "status", "server", "message"), [
    ({"kafka_topic": "there-is-none"}, 1, "kafka", "create the topic"),
    ({"kafka_properties": "{fetch.min.bytes: none}"}, 2, "kafka", "fetch.min.bytes"),
    ({"mysql_database": "no_such_database"}, 1, "mysql", "no_such_database"),
    ({"mysql_port": "1"}, 1, "mysql", "mysql.port"),
    ({"redis_port": "1"}, 1, "redis", "redis.port"),
])
def test_check_config_names_the_change(ledger, options, status, server, message):
    found, said, _ = attempt(ledger, "check-config", **options)
    assert found == status
    changes = [line for line in said.splitlines() if line.startswith("CHANGE")]
    assert [line.split()[1] for line in changes] == [server]
    assert message in changes[0]


def test_check_config_refuses_a_compacted_topic(ledger):
    name = f"{ledger.topic}-compacted"
    ledger.stack.kafka.create_topic(name, 2, {"cleanup.policy": "compact"})
    status, said, _ = attempt(ledger, "check-config", kafka_topic=name)
    assert status == 1
    assert "cleanup.policy=compact" in said
    ledger.stack.kafka.delete_topic(name)
