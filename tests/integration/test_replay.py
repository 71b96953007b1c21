"""`ledgerd replay` on real servers: rows deleted by hand, skipped offsets, an owner that is running,
and a replay that is killed and run again.
"""

import json
import random
import signal
import subprocess
import threading
import time

import pytest

from harness import LEDGERD, event, eventually, random_events

ROW = ("kafka_partition", "kafka_offset")


def rows_of(ledger, table):
    """All columns of all rows, by place; what a restored dead letter cannot have again is left out."""
    rows = ledger.sql(f"SELECT * FROM {table}")
    for row in rows:
        row.pop("created_at", None)
        row.pop("updated_at", None)
    return {tuple(row[name] for name in ROW): row for row in rows}


def tables(ledger):
    balances = {(row["account_id"], row["currency_code"]): row for row in
                ledger.sql("SELECT account_id, currency_code, available, frozen, version, "
                           "kafka_partition, last_offset FROM account_balances")}
    return rows_of(ledger, "balance_transactions"), rows_of(ledger, "dead_letters"), balances


def delete(ledger, table, places):
    for partition, offset in places:
        ledger.sql(f"DELETE FROM {table} WHERE kafka_partition = %s AND kafka_offset = %s",
                   partition, offset)


def replay(ledger, partition, *arguments, start=0, status=0):
    return json.loads(ledger.run("replay", "--partition", partition, "--from-offset", start,
                                 "--json", *arguments, status=status))


def actions(report):
    found = {}
    for one in report["offsets"]:
        found.setdefault(one["action"], []).append(one["offset"])
    return found


def consumed(ledger, count=3000, seed=5, **options):
    """A ledger whose daemon has consumed events and bad messages, and has ended."""
    one = ledger.start(**options)
    ledger.publish(random_events(count, seed))
    for partition in range(ledger.partitions):
        ledger.publish_to(partition, b"1", b"junk \x00\xff")
        ledger.publish_to(partition, None, event("keyless", 1))
    ledger.wait_consumed()
    return one


def skip(ledger, partition, end):
    """What `resume --at-offset` does. The daemons are stopped."""
    begin = ledger.next_offsets()[partition]
    ledger.sql("INSERT INTO offset_gaps (kafka_partition, from_offset, to_offset, reason) "
               "VALUES (%s, %s, %s, 'a test')", partition, begin, end)
    ledger.sql("UPDATE partition_offsets SET next_offset = %s, redis_offset = %s "
               "WHERE kafka_partition = %s", end, end, partition)
    return begin


def test_deleted_rows_are_restored_as_they_were(ledger):
    """Byte for byte; a dry run changes nothing; verify is clean again."""
    consumed(ledger).stop()
    before = tables(ledger)
    chance = random.Random(3)
    rows = chance.sample(sorted(before[0]), 400)
    letters = chance.sample(sorted(before[1]), 3)
    delete(ledger, "balance_transactions", rows)
    delete(ledger, "dead_letters", letters)
    damaged = tables(ledger)
    ledger.run("verify", status=3)
    table = ledger.run("replay", "--partition", 0, "--from-offset", 0)
    missing = sum(p == 0 for p, _ in rows + letters)
    assert table.count("restore the ") == 40 and f"... and {missing - 40} more" in table
    assert "nothing was changed" in table
    for partition in range(2):
        said = replay(ledger, partition)
        assert actions(said)["restore_row"] == sorted(o for p, o in rows if p == partition)
        assert actions(said).get("restore_dead_letter", []) == sorted(
            o for p, o in letters if p == partition)
        assert said["actions"]["apply"] == said["actions"]["undecided"] == 0
        assert tables(ledger) == damaged
        done = replay(ledger, partition, "--apply")
        assert done["complete"] and done["written"]["restore_row"] == len(actions(said)["restore_row"])
        damaged = tables(ledger)
    assert tables(ledger) == before
    ledger.run("verify", "--from-kafka")
    again = replay(ledger, 0, "--apply")
    assert set(actions(again)) <= {"duplicate"}


def test_one_offset_in_the_middle_of_a_busy_account(ledger):
    """The row that is known to be gone is all that is typed; another one is missing beside it."""
    consumed(ledger).stop()
    before = tables(ledger)
    rows = sorted(row["kafka_offset"] for place, row in before[0].items()
                  if place[0] == 0 and row["account_id"] == busiest(before[0]))
    gone, beside = rows[len(rows) // 2], rows[len(rows) // 2 - 1]
    delete(ledger, "balance_transactions", [(0, gone), (0, beside)])
    table = ledger.run("replay", "--partition", 0, "--from-offset", gone, "--to-offset", gone + 1)
    assert table.count("restore the row") == 1 and f"offsets {gone} to {gone + 1}: 1 messages" in table
    assert "also missing outside of the range: 1 journal rows" in table
    said = replay(ledger, 0, "--to-offset", gone + 1, "--apply", start=gone)
    assert actions(said) == {"restore_row": [gone]} and said["written"]["restore_row"] == 1
    outside = said["missing_outside"]
    assert outside == {"rows": 1, "from_offset": beside, "to_offset": beside + 1}
    assert (0, beside) not in tables(ledger)[0]
    assert tables(ledger)[0][0, gone] == before[0][0, gone]
    said = replay(ledger, 0, "--to-offset", outside["to_offset"], "--apply",
                  start=outside["from_offset"])
    assert actions(said) == {"restore_row": [beside]} and said["missing_outside"] == {"rows": 0}
    assert tables(ledger) == before
    ledger.run("verify", "--from-kafka")


def busiest(rows):
    accounts = [row["account_id"] for place, row in rows.items() if place[0] == 0]
    return max(set(accounts), key=accounts.count)


def test_redelivery_of_a_deleted_row_is_never_applied(ledger):
    account = ledger.account_in(0)
    one = ledger.start()
    ledger.publish([event("a", account, amount="10"), event("b", account, amount="1"),
                    event("a", account, amount="10"), event("c", account, amount="2")])
    ledger.wait_consumed()
    one.stop()
    before = tables(ledger)
    delete(ledger, "balance_transactions", [(0, 0)])
    said = replay(ledger, 0, "--apply", start=1)
    assert actions(said) == {"duplicate": [2]}
    assert said["missing_outside"] == {"rows": 1, "from_offset": 0, "to_offset": 1}
    said = replay(ledger, 0, "--apply")
    assert actions(said) == {"restore_row": [0], "duplicate": [2]}
    assert tables(ledger) == before


def test_skipped_events_are_decided_and_reach_redis(make_ledger):
    """Events in a gap, each once, although an owner runs; the gap row stays; Redis follows."""
    ledger = make_ledger(partitions=1)
    one = ledger.start()
    ledger.publish([event(f"first-{n}", n % 50 + 1, amount="100") for n in range(500)])
    ledger.wait_consumed()
    one.stop()
    ledger.publish(random_events(2000, seed=9, accounts=60, prefix="gap"))
    begin = skip(ledger, 0, ledger.log_ends()[0])
    ledger.start("two")
    ledger.publish([event(f"later-{n}", n % 50 + 1, amount="5") for n in range(500)])
    ledger.wait_consumed()
    balances = tables(ledger)[2]
    said = replay(ledger, 0)
    assert tables(ledger)[2] == balances
    assert said["actions"]["apply"] > 1500 and said["actions"]["undecided"] == 0
    done = replay(ledger, 0, "--apply", start=begin)
    assert done["written"]["apply"] == said["actions"]["apply"]
    ledger.publish([event(f"last-{n}", n % 50 + 1, amount="7") for n in range(100)])
    ledger.wait_consumed()
    assert len(ledger.sql("SELECT * FROM offset_gaps")) == 1
    eventually(lambda: redis_is_equal(ledger), what="Redis equal to MySQL")
    ledger.run("verify", "--from-kafka")
    assert set(actions(replay(ledger, 0))) == {"duplicate"}


def redis_is_equal(ledger):
    expected = {f"balance:{{{row['account_id']}}}:{row['currency_code']}": str(row["version"])
                for row in ledger.sql("SELECT * FROM account_balances WHERE version > 0")}
    return {key: row[2] for key, row in ledger.redis_balances().items()} == expected


def test_owner_under_load(ledger):
    """Rows deleted while a daemon consumes; the replay takes the partition and gives it back."""
    consumed(ledger, lease_ttl_ms=4000)
    before = tables(ledger)
    rows = random.Random(8).sample(sorted(before[0]), 100)
    delete(ledger, "balance_transactions", rows)
    more = random_events(20000, seed=77, prefix="load")
    load = threading.Thread(target=lambda: [ledger.publish(more[at:at + 500])
                                            for at in range(0, len(more), 500)])
    load.start()
    for partition in range(2):
        done = replay(ledger, partition, "--apply")
        assert done["written"]["restore_row"] == sum(p == partition for p, _ in rows)
        assert done["actions"]["apply"] == 0
    load.join()
    ledger.wait_consumed()
    ledger.assert_equals_oracle()
    ledger.run("verify", "--from-kafka")


def test_killed_in_the_middle_and_run_again(make_ledger):
    """SIGKILL at any moment leaves whole transactions, and the next run does the rest."""
    ledger = make_ledger(partitions=1, lease_ttl_ms=3000, consumer_batch_max_events=200)
    consumed(ledger, 6000).stop()
    before = tables(ledger)
    rows = random.Random(4).sample(sorted(before[0]), 4000)
    delete(ledger, "balance_transactions", rows)
    left = len(rows)
    for wait_s in (0.5, 0.9, 1.2, 1.5):
        one = subprocess.Popen([LEDGERD, "replay", "--partition", "0", "--from-offset", "0",
                                "--apply"], env=ledger.environment, stdout=subprocess.DEVNULL)
        time.sleep(wait_s)
        one.kill()
        one.wait()
        missing = len(before[0]) - len(rows_of(ledger, "balance_transactions"))
        assert missing <= left and tables(ledger)[2] == before[2]
        left = missing
        # Its request for the partition lapses by itself, but a test need not wait for that.
        ledger.sql("UPDATE leader_locks SET requested_by = NULL")
    done = replay(ledger, 0, "--apply")
    assert done["complete"] and done["actions"]["undecided"] == 0
    assert tables(ledger) == before
    ledger.start("after")
    ledger.publish([event("after", 1)])
    ledger.wait_consumed()
    ledger.run("verify", "--from-kafka")


def test_interrupted(make_ledger):
    """SIGINT while it waits for the partition: it says so and withdraws."""
    ledger = make_ledger(partitions=1)
    one = consumed(ledger, 100)
    one.signal(signal.SIGSTOP)
    waiting = subprocess.Popen([LEDGERD, "replay", "--partition", "0", "--from-offset", "0",
                                "--apply"], env=ledger.environment, stderr=subprocess.PIPE)
    eventually(lambda: ledger.sql("SELECT requested_by FROM leader_locks")[0]["requested_by"],
               what="the request")
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(60) == 1
    assert b"interrupted" in waiting.stderr.read()
    assert not ledger.sql("SELECT requested_by FROM leader_locks")[0]["requested_by"]
    one.signal(signal.SIGCONT)


@pytest.mark.parametrize("arguments, status, message", [
    ([], 2, "--partition P is needed"),
    (["--partition", "0"], 2, "--from-offset N is needed"),
    (["--partition", "7", "--from-offset", "0"], 1, "there is no partition 7"),
    (["--partition", "0", "--from-offset", "1000000"], 1, "next_offset"),
])
def test_usage(ledger, arguments, status, message):
    ledger.start().stop()
    done = subprocess.run([LEDGERD, "replay", *arguments], env=ledger.environment,
                          capture_output=True, timeout=60)
    assert done.returncode == status
    assert message in done.stderr.decode()


def test_log_without_its_beginning(make_ledger):
    """Refused, with both offsets named, if Kafka no longer has the first one."""
    ledger = make_ledger(partitions=1)
    consumed(ledger, 200).stop()
    ledger.stack.kafka.delete_records(ledger.topic, 0, 100)
    done = subprocess.run([LEDGERD, "replay", "--partition", "0", "--from-offset", "20"],
                          env=ledger.environment, capture_output=True, timeout=60)
    assert done.returncode == 1
    assert "offset 20" in done.stderr.decode() and "begins at 100" in done.stderr.decode()
