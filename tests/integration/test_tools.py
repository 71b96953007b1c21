"""`ledgerd snapshot rebuild` and `ledgerd dead-letters`: for when something went wrong."""

import json
import signal
import subprocess
import time
from contextlib import closing
from pathlib import Path

import confluent_kafka
import pytest
from kafka import KafkaConsumer, TopicPartition

from harness import LEDGERD, event, eventually, random_events


@pytest.fixture
def ledger(make_ledger):
    """Debian's kafka-python cannot read what librdkafka compresses."""
    return make_ledger(kafka_properties="{compression.type: none}")


def ledgerd(ledger, *arguments):
    return subprocess.run([LEDGERD, *map(str, arguments)], env=ledger.environment,
                          capture_output=True, timeout=120)


def end_early(ledger, stop, delay_s, *arguments):
    """A command that gets a signal after a while. Its exit status."""
    with subprocess.Popen([LEDGERD, *arguments], env=ledger.environment,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as command:
        time.sleep(delay_s)
        command.send_signal(stop)
        return command.wait(60)


def key_of(account, currency="USDT"):
    return f"balance:{{{account}}}:{currency}"


# snapshot rebuild

def rebuild(ledger, *arguments):
    return json.loads(ledger.run("snapshot", "rebuild", "--json", *arguments))


def stopped_ledger(ledger):
    """Some balances, one that never changed (account 9000) among them; nobody is running."""
    one = ledger.start()
    ledger.publish(random_events(3000) + [event("poor", 9000, "WITHDRAW", "1")])
    ledger.wait_consumed()
    oracle = ledger.assert_equals_oracle()
    assert one.stop() == 0
    return oracle


def assert_rebuilt(ledger, oracle):
    assert ledger.redis_balances() == ledger.expected_redis(oracle)
    assert "no differences" in ledger.run("verify")


def test_an_emptied_redis_is_filled(ledger):
    oracle = stopped_ledger(ledger)
    ledger.redis.flushall()
    ledger.redis.set("session:1", "somebody else's")
    ledger.redis.hset("other:{1}:USDT", "available", "7")
    found = rebuild(ledger)
    assert found["written"] == len(ledger.expected_redis(oracle))
    assert (found["mended"], found["deleted"], found["unchanged"]) == (0, 0, 0)
    assert_rebuilt(ledger, oracle)
    assert ledger.redis.get("session:1") == "somebody else's"
    assert ledger.redis.hgetall("other:{1}:USDT") == {"available": "7"}


def tamper(ledger, keys):
    """Every kind of difference. How many keys are missing, wrong, and too many."""
    client = ledger.redis
    missing, behind, ahead, far, other, garbage, extra, text = keys[:8]
    client.delete(missing)
    client.hset(behind, mapping={"version": "1", "available": "5"})
    client.hincrby(ahead, "version", 1)
    client.hset(far, mapping={"version": str(2**53 - 1), "available": "999999", "frozen": "3"})
    client.hset(other, "available", "0.000000000000000001")
    client.hset(garbage, mapping={"available": "1e5", "frozen": "-1", "version": "900000"})
    client.hset(extra, mapping={"version": "77\n\x00", "mine": "x"})
    client.delete(text)
    client.set(text, "no hash")
    client.hset(key_of(8_000_000), mapping={"available": "1", "frozen": "0", "version": "3",
                                            "updated_at": "1"})
    client.hset(key_of(9000), mapping={"available": "1", "frozen": "0", "version": "1",
                                       "updated_at": "1"})
    client.set(key_of(8_000_001), "no hash, and of no balance")
    return 2, 6, 3


def test_a_redis_that_was_changed_is_mended(ledger):
    oracle = stopped_ledger(ledger)
    written, mended, deleted = tamper(ledger, sorted(ledger.expected_redis(oracle)))
    assert ledgerd(ledger, "verify").returncode == 3
    found = rebuild(ledger)
    assert (found["written"], found["mended"], found["deleted"]) == (written, mended, deleted)
    assert found["complete"] and found["failure"] is None and "@" in found["by"]
    assert_rebuilt(ledger, oracle)
    found = rebuild(ledger)
    assert (found["written"], found["mended"], found["deleted"]) == (0, 0, 0)
    assert found["unchanged"] == len(ledger.expected_redis(oracle))


def test_rebuild_says_what_it_does(ledger):
    stopped_ledger(ledger)
    ledger.redis.flushall()
    done = ledgerd(ledger, "snapshot", "rebuild")
    assert done.returncode == 0
    lines = done.stdout.decode().splitlines()
    assert "made equal to account_balances" in lines[0]
    assert " written, 0 mended" in lines[-1]
    assert b"snapshot rebuild" in done.stderr and b"by=" in done.stderr


def test_rebuild_of_one_partition(ledger):
    oracle = stopped_ledger(ledger)
    ledger.redis.flushall()
    ledger.redis.hset(key_of(ledger.account_in(0, 5000)), "version", "1")
    rebuild(ledger, "--partition", 1)
    expected = {key: value for key, value in ledger.expected_redis(oracle).items()
                if ledger.partition_of(key.split("{")[1].split("}")[0]) == 1}
    found = ledger.redis_balances()
    assert found.pop(key_of(ledger.account_in(0, 5000))) == (None, None, "1")
    assert found == expected
    assert "partition 1" in ledger.run("snapshot", "rebuild", "--partition", 1)
    assert ledgerd(ledger, "snapshot", "rebuild", "--partition", 2).returncode == 1


def test_keys_of_another_form_are_left_alone_and_named(ledger):
    oracle = stopped_ledger(ledger)
    ledger.redis.set("balance:{1}:usdt", "mine")
    found = rebuild(ledger)
    assert (found["foreign"], found["deleted"]) == (1, 0)
    assert "balance:{1}:usdt" in ledger.run("snapshot", "rebuild")
    assert ledger.redis.get("balance:{1}:usdt") == "mine"
    ledger.redis.delete("balance:{1}:usdt")
    assert_rebuilt(ledger, oracle)


def test_rebuild_beside_a_running_owner(ledger):
    """Redis is ahead, and the owner goes on: no version of its own is taken back."""
    ledger.start()
    ledger.publish(random_events(2000, accounts=300))
    ledger.wait_consumed()
    keys = sorted(ledger.redis_balances())
    with subprocess.Popen([LEDGERD, "produce", "--generate", "150000", "--accounts", "2000",
                           "--overdrafts", "0.1"], env=ledger.environment,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as load:
        eventually(lambda: sum(ledger.next_offsets()) > 10000, 60)
        for number, key in enumerate(keys):
            if number % 3 == 0:
                ledger.redis.hincrby(key, "version", 50)
            elif number % 3 == 1:
                ledger.redis.hset(key, mapping={"version": str(10**9), "available": "1"})
        for account in range(5000, 5300):
            ledger.redis.hset(key_of(account), mapping={"available": "1", "version": "8"})
        assert rebuild(ledger)["deleted"] >= 300
        ledger.redis.flushall()
        rebuild(ledger)
        assert load.wait(120) == 0
    ledger.wait_consumed(120)
    ledger.assert_equals_oracle()
    assert "no differences" in ledger.run("verify")


def test_after_a_restored_database(ledger):
    """The database went back, and Redis is ahead of it with other amounts: the log is another."""
    oracle = stopped_ledger(ledger)
    for key in list(ledger.expected_redis(oracle)):
        ledger.redis.hincrby(key, "version", 1000)
        ledger.redis.hset(key, "available", "123456")
    found = rebuild(ledger)
    assert found["mended"] == len(ledger.expected_redis(oracle))
    assert_rebuilt(ledger, oracle)
    ledger.start()
    ledger.publish([event("later", 1)])
    ledger.wait_consumed()
    ledger.assert_equals_oracle()


def test_rebuild_is_interrupted_and_begun_again(ledger):
    """At any moment, and wherever that is; an interrupt ends it in good order."""
    oracle = stopped_ledger(ledger)
    for number, delay_s in enumerate((0, 0.01, 0.02, 0.03, 0.04, 0.06, 0.1, 0.2)):
        tamper(ledger, sorted(ledger.expected_redis(oracle)))
        stop = signal.SIGINT if number % 2 else signal.SIGKILL
        assert end_early(ledger, stop, delay_s, "snapshot", "rebuild") in (0, 1, -stop)
    rebuild(ledger)
    assert_rebuilt(ledger, oracle)


def test_rebuild_without_redis(ledger):
    stopped_ledger(ledger)
    ledger.environment["LEDGERD_REDIS_PORT"] = "1"
    done = ledgerd(ledger, "snapshot", "rebuild")
    assert done.returncode == 1 and b"redis 127.0.0.1:1" in done.stderr
    ledger.environment["LEDGERD_REDIS_ENABLED"] = "false"
    done = ledgerd(ledger, "snapshot", "rebuild")
    assert done.returncode == 2 and b"redis.enabled" in done.stderr


def test_rebuild_with_the_rights_that_are_documented(ledger):
    oracle = stopped_ledger(ledger)
    tamper(ledger, sorted(ledger.expected_redis(oracle)))
    text = (Path(__file__).parents[2] / "lua" / "README.md").read_text()
    rights = text.split("ACL SETUSER ledgerd on >PASSWORD ")[1].split("\n")[0].split()
    ledger.redis.execute_command("ACL", "SETUSER", "ledgerd", "on", ">secret", *rights)
    ledger.environment |= {"LEDGERD_REDIS_USER": "ledgerd", "LEDGERD_REDIS_PASSWORD": "secret"}
    try:
        assert rebuild(ledger)["complete"]
        assert_rebuilt(ledger, oracle)
    finally:
        ledger.redis.execute_command("ACL", "DELUSER", "ledgerd")


# dead letters

JUNK = b'\x00\xff\x1b[2J{"transaction_id":\n\\'
HEADERS = [("trace", b"\x00\xff\xfe"), ("trace", b""), ("none", None), ("text", "ä\"\n".encode())]


def publish(ledger, messages):
    """To partition 0, in order; kafka-python sends no null header, and nothing without key and
    value."""
    producer = confluent_kafka.Producer({"bootstrap.servers": ledger.stack.kafka.address,
                                         "message.max.bytes": 20_000_000})
    for _, key, value, headers in messages:
        producer.produce(ledger.topic, value, key, 0, headers=headers)
    assert producer.flush(30) == 0


def ledger_with_letters(ledger):
    """{reason: place} of a dead letter of each reason, and of one without key and value."""
    ledger.start()
    at_home, foreign = ledger.account_in(0), ledger.account_in(1)
    conflict = str(at_home).encode()
    publish(ledger, [("MALFORMED", b"\x00key", JUNK, HEADERS),
                     ("KEY_MISMATCH", b"", event("k", at_home), []),
                     ("WRONG_PARTITION", str(foreign).encode(), event("w", foreign), HEADERS),
                     ("NULLS", None, None, []),
                     ("", conflict, event("i", at_home), []),
                     ("ID_CONFLICT", conflict, event("i", at_home, amount="2"), [])])
    ledger.wait_consumed()
    assert len(ledger.sql("SELECT * FROM dead_letters")) == 5
    return {"MALFORMED": 0, "KEY_MISMATCH": 1, "WRONG_PARTITION": 2, "NULLS": 3, "ID_CONFLICT": 5}


def messages(ledger, partition, begin):
    """Key, value and headers of the messages from an offset on."""
    where = TopicPartition(ledger.topic, partition)
    found = []
    with closing(KafkaConsumer(bootstrap_servers=ledger.stack.kafka.address,
                               enable_auto_commit=False)) as consumer:
        consumer.assign([where])
        end = consumer.end_offsets([where])[where]
        consumer.seek(where, begin)
        while consumer.position(where) < end:
            for batch in consumer.poll(1000).values():
                found += [(one.key, one.value, list(one.headers)) for one in batch]
    return found


def redrive(ledger, *arguments):
    return json.loads(ledger.run("dead-letters", "redrive", "--json", *arguments))


def redriven(ledger):
    rows = ledger.sql("SELECT kafka_offset FROM dead_letters WHERE redriven_at IS NOT NULL")
    return sorted(row["kafka_offset"] for row in rows)


def test_list(ledger):
    places = ledger_with_letters(ledger)

    def listed(*arguments):
        found = json.loads(ledger.run("dead-letters", "list", "--json", *arguments))
        return [row["offset"] for row in found["dead_letters"]], found["more"]

    found = json.loads(ledger.run("dead-letters", "list", "--json"))["dead_letters"]
    rows = ledger.sql("SELECT * FROM dead_letters ORDER BY kafka_partition, kafka_offset")
    assert [(row["partition"], row["offset"], row["reason"], row["value_bytes"])
            for row in found] == [
        (row["kafka_partition"], row["kafka_offset"], row["reason"],
         len(row["message_value"] or b"")) for row in rows]
    everything = sorted(places.values())
    assert listed() == (everything, False)
    assert listed("--limit", 2) == (everything[:2], True)
    assert listed("--limit", 5) == (everything, False)
    assert listed("--from-offset", everything[3]) == (everything[3:], False)
    assert listed("--reason", "ID_CONFLICT") == ([places["ID_CONFLICT"]], False)
    assert listed("--partition", 1) == ([], False)
    ledger.sql("UPDATE dead_letters SET redriven_at = NOW(3) WHERE kafka_offset = %s",
               everything[0])
    assert listed("--pending") == (everything[1:], False)
    table = ledgerd(ledger, "dead-letters", "list").stdout
    assert b"WRONG_PARTITION" in table and b"\\x00key" in table
    assert not set(table) & {0, 0x1b, 0xff}
    assert "no dead letters" in ledger.run("dead-letters", "list", "--partition", 1)


def test_show(ledger):
    places = ledger_with_letters(ledger)
    shown = ledgerd(ledger, "dead-letters", "show", 0, places["MALFORMED"]).stdout
    assert b"MALFORMED" in shown and b"\\x00\\xff\\x1b[2J" in shown and b"\\n\\\\" in shown
    assert not set(shown) & {0, 0x1b, 0xff}
    assert b"would be a dead letter again: MALFORMED" in shown
    raw = ledgerd(ledger, "dead-letters", "show", 0, places["MALFORMED"], "--raw")
    assert (raw.returncode, raw.stdout) == (0, JUNK)
    assert ledgerd(ledger, "dead-letters", "show", 0, places["NULLS"], "--raw").stdout == b""
    found = json.loads(ledger.run("dead-letters", "show", 0, places["WRONG_PARTITION"], "--json"))
    assert found["value"].encode() == event("w", ledger.account_in(1))
    assert found["headers"] == [["trace", {"base64": "AP/+"}], ["trace", ""], ["none", None],
                                ["text", "ä\"\n"]]
    assert found["redrive_becomes"] is None and found["redriven_at"] is None
    found = json.loads(ledger.run("dead-letters", "show", 0, places["NULLS"], "--json"))
    assert found["key"] is None and found["value"] is None and found["headers"] is None
    assert "event of partition 1" in ledger.run("dead-letters", "show", 0,
                                                places["WRONG_PARTITION"])
    assert ledgerd(ledger, "dead-letters", "show", 1, 77).returncode == 1


def test_redrive_publishes_to_no_other_cluster(ledger):
    ledger_with_letters(ledger)
    ledger.sql("UPDATE ledger_meta SET kafka_cluster_id = 'another'")
    ends = ledger.log_ends()
    done = ledgerd(ledger, "dead-letters", "redrive", "--all")
    assert done.returncode == 1 and "another" in str(done.stderr)
    assert (ledger.log_ends(), redriven(ledger)) == (ends, [])


def test_redrive_publishes_what_can_help(ledger):
    """The bytes that Kafka had, to the right partition, once; the rest is left out and counted."""
    places = ledger_with_letters(ledger)
    where = places["WRONG_PARTITION"]
    found = redrive(ledger, "--all", "--dry-run")
    assert (found["chosen"], found["published"], redriven(ledger)) == (1, 0, [])
    begin = ledger.log_ends()[1]
    assert begin == 0
    found = redrive(ledger, "--all")
    assert (found["chosen"], found["published"], found["redriven_before"]) == (1, 1, 0)
    assert found["left_out"] == {"MALFORMED": 2, "KEY_MISMATCH": 1, "WRONG_PARTITION": 0,
                                 "ID_CONFLICT": 1}
    account = ledger.account_in(1)
    assert messages(ledger, 1, 0) == [(str(account).encode(), event("w", account), HEADERS)]
    assert redriven(ledger) == [where]
    ledger.wait_consumed()
    ledger.assert_equals_oracle()
    assert ledger.sql("SELECT status FROM balance_transactions WHERE transaction_id = 'w'") == [
        {"status": "SUCCESS"}]
    found = redrive(ledger, "--all")
    assert (found["chosen"], found["redriven_before"]) == (0, 1)
    # As after an end between the acknowledgement and the mark: published twice, applied once.
    ledger.sql("UPDATE dead_letters SET redriven_at = NULL")
    assert redrive(ledger, "--partition", 0, "--from-offset", where, "--to-offset",
                   where + 1)["published"] == 1
    assert redrive(ledger, "--all", "--again")["published"] == 1
    ledger.wait_consumed()
    assert ledger.log_ends()[1] == 3
    ledger.assert_equals_oracle()
    assert "no differences" in ledger.run("verify", "--from-kafka")


def test_redrive_what_cannot_help_if_it_is_asked_for(ledger):
    """Null stays null and empty stays empty; and what comes back is not met a second time."""
    places = ledger_with_letters(ledger)
    begin = ledger.log_ends()
    found = redrive(ledger, "--reason", "MALFORMED")
    assert (found["chosen"], found["published"]) == (2, 2)
    assert found["dead_letters_again"]["MALFORMED"] == 2
    ledger.wait_consumed()
    assert sum(ledger.log_ends()) == sum(begin) + 2
    home = ledger.partition_of("\x00key")
    assert (b"\x00key", JUNK, HEADERS) in messages(ledger, home, begin[home])
    assert (None, None, []) in messages(ledger, 0, begin[0])
    assert len(ledger.sql("SELECT * FROM dead_letters")) == 7
    begin = ledger.log_ends()
    redrive(ledger, "--partition", 0, "--offset", places["KEY_MISMATCH"])
    account = ledger.account_in(0)
    home = ledger.partition_of("")
    assert messages(ledger, home, begin[home]) == [(b"", event("k", account), [])]
    ledger.wait_consumed()
    ledger.assert_equals_oracle()


def test_redrive_is_interrupted_and_begun_again(ledger):
    """Some are published twice and count once; none is left behind."""
    ledger.start()
    account = ledger.account_in(1)
    publish(ledger, [("", str(account).encode(), event(f"w{number}", account), [])
                     for number in range(2000)])
    ledger.wait_consumed()
    for number, delay_s in enumerate((0.1, 0.2, 0.3, 0.4, 0.5, 0.7)):
        stop = signal.SIGINT if number % 2 else signal.SIGKILL
        end_early(ledger, stop, delay_s, "dead-letters", "redrive", "--all")
    redrive(ledger, "--all")
    assert redriven(ledger) == list(range(2000))
    ledger.wait_consumed()
    ledger.assert_equals_oracle()
    assert ledger.sql("SELECT COUNT(*) AS n FROM balance_transactions") == [{"n": 2000}]


def test_redrive_says_what_it_will_do(ledger):
    ledger_with_letters(ledger)
    done = ledgerd(ledger, "dead-letters", "redrive", "--all", "--dry-run")
    assert done.returncode == 0
    assert b"1 dead letters would be published again" in done.stdout
    assert b"MALFORMED 2, KEY_MISMATCH 1, ID_CONFLICT 1" in done.stdout
    assert b"nothing was published" in done.stdout
    done = ledgerd(ledger, "dead-letters", "redrive", "--all")
    assert b"1 dead letters will be published again" in done.stdout
    assert b"dead letters redriven" in done.stderr and b"by=" in done.stderr


def test_redrive_of_megabytes(ledger):
    """More than a producer takes by itself, and more than one bite of letters."""
    ledger.start()
    account = ledger.account_in(1)
    big = b'{"note":"' + b"x" * 3_000_000 + b'"}'
    publish(ledger, [("", b"1", big, [])])
    publish(ledger, [("", str(account).encode(), event(f"w{number}", account), [])
                     for number in range(450)])
    ledger.wait_consumed(120)
    assert redrive(ledger, "--all")["published"] == 450
    assert redrive(ledger, "--reason", "MALFORMED")["published"] == 1
    ledger.wait_consumed(120)
    ledger.assert_equals_oracle()
    values = [row["message_value"] for row in
              ledger.sql("SELECT message_value FROM dead_letters WHERE reason = 'MALFORMED'")]
    assert values == [big, big]


@pytest.mark.parametrize("arguments", [
    ["snapshot"], ["snapshot", "dance"], ["snapshot", "rebuild", "now"], ["dead-letters"],
    ["dead-letters", "dance"], ["dead-letters", "list", "--reason", "BAD"],
    ["dead-letters", "show"], ["dead-letters", "show", "0", "x"],
    ["dead-letters", "redrive"], ["dead-letters", "redrive", "--partition", "0"],
    ["dead-letters", "redrive", "--offset", "1"], ["dead-letters", "redrive", "--from-offset", "1"],
    ["dead-letters", "redrive", "--partition", "0", "--offset", "1", "--all"]])
def test_bad_usage(arguments):
    done = subprocess.run([LEDGERD, *arguments], capture_output=True, timeout=60)
    assert done.returncode == 2 and done.stderr


@pytest.mark.parametrize("command", [
    ["snapshot"], ["snapshot", "rebuild"], ["dead-letters"], ["dead-letters", "list"],
    ["dead-letters", "show"], ["dead-letters", "redrive"]])
def test_help_fits_a_screen(command):
    done = subprocess.run([LEDGERD, *command, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.startswith("usage: ledgerd")
    lines = done.stdout.splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 100
