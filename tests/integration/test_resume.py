"""A person lets a halted partition go on: what is given up is recorded, and nothing else is lost."""

import json
import subprocess

import harness
from harness import event, eventually
from oracle import Oracle


def halted_reason(ledger, partition=0):
    rows = ledger.sql("SELECT halted_reason FROM partition_offsets WHERE kafka_partition = %s",
                      partition)
    return rows[0]["halted_reason"] if rows else None


def wait_halted(ledger, partition=0, timeout_s=60):
    return eventually(lambda: halted_reason(ledger, partition), timeout_s, "a halt")


def halt_by_hand(ledger, reason="somebody looks at it"):
    """The owner, if there is one, lets go."""
    ledger.sql("UPDATE partition_offsets SET halted_reason = %s", reason)
    eventually(lambda: not ledger.sql(
        "SELECT 1 FROM leader_locks WHERE expires_at > UTC_TIMESTAMP(6)"), what="let go")


def refused(ledger, *arguments, status=1):
    """What a `resume` that must change nothing says."""
    before = ledger.sql("SELECT next_offset, halted_reason FROM partition_offsets")
    done = subprocess.run([harness.LEDGERD, "resume", *map(str, arguments)],
                          env=ledger.environment, capture_output=True, timeout=60)
    assert done.returncode == status, done
    assert ledger.sql("SELECT next_offset, halted_reason FROM partition_offsets") == before
    assert not ledger.sql("SELECT * FROM offset_gaps")
    return done.stderr.decode()


def resume(ledger, *arguments):
    """Its JSON, and the lines of the log."""
    done = subprocess.run([harness.LEDGERD, "resume", "--json", *map(str, arguments)],
                          env=ledger.environment, capture_output=True, timeout=60)
    assert done.returncode == 0, done
    return json.loads(done.stdout), done.stderr.decode()


def test_offsets_of_another_log_are_not_given_up(ledger):
    one = ledger.start()
    ledger.publish(harness.random_events(50))
    ledger.wait_consumed()
    one.stop()
    ledger.publish(harness.random_events(50))
    halt_by_hand(ledger)
    ledger.sql("UPDATE ledger_meta SET kafka_cluster_id = 'another'")
    end = ledger.log_ends()[0]
    assert "another" in refused(ledger, "--partition", 0, "--at-offset", end, "--reason", "x")


def oracle_without(ledger, *gaps):
    oracle = Oracle(ledger.partitions)
    for partition in range(ledger.partitions):
        for offset, key, value, timestamp in ledger.messages(partition):
            if not any(begin <= offset < end for begin, end in gaps):
                oracle.feed(partition, offset, key, value, timestamp)
    return oracle


def gaps_of(ledger):
    return [(row["kafka_partition"], row["from_offset"], row["to_offset"], row["reason"])
            for row in ledger.sql("SELECT * FROM offset_gaps")]


def test_beginning_of_the_log_is_gone(make_ledger):
    """From the halt to the end of the log, in an instance that was never restarted."""
    ledger = make_ledger(1)
    one = ledger.start()
    ledger.publish([event("before", 1, amount="5")])
    ledger.wait_consumed()
    assert one.stop() == 0
    ledger.publish([event(f"i{number}", 1) for number in range(10)])
    ledger.stack.kafka.delete_records(ledger.topic, 0, 5)
    two = ledger.start("two", wait=False)
    assert "begins at 5" in wait_halted(ledger)
    why = ("--partition", 0, "--reason", "INC-17: gone, ä customer told")
    assert "begins at 5" in refused(ledger, *why, "--at-offset", 4)
    assert "not above next_offset" in refused(ledger, *why, "--at-offset", 1)
    assert "ends at 11" in refused(ledger, *why, "--at-offset", 12)
    shown = ledger.run("resume", *why, "--at-offset", 5, "--dry-run")
    assert "offsets 1 to 4 (4)" in shown and "begins at 5" in shown
    assert halted_reason(ledger) and ledger.next_offsets() == [1] and not gaps_of(ledger)
    answer, log = resume(ledger, *why, "--at-offset", 5)
    assert answer["gap"] == {"from_offset": 1, "to_offset": 5} and answer["resumed"]
    assert answer["log"] == {"low": 5, "high": 11} and "begins at 5" in answer["halted_reason"]
    assert "resumed with a gap" in log and answer["by"] in log and "INC-17" in log
    assert gaps_of(ledger) == [(0, 1, 5, "INC-17: gone, ä customer told")]
    ledger.wait_consumed()
    two.wait_ready()
    ids = [row["transaction_id"] for row in
           ledger.sql("SELECT * FROM balance_transactions ORDER BY kafka_offset")]
    assert ids == ["before"] + [f"i{number}" for number in range(4, 10)]
    balance = ledger.sql("SELECT * FROM account_balances")[0]
    assert (balance["available"], balance["version"]) == (11, 7)
    ledger.run("verify", "--from-kafka")
    assert two.stop() == 0
    ledger.start("three")
    ledger.publish([event("after", 1), event("i3", 1)])
    ledger.wait_consumed()
    assert len(ledger.sql("SELECT * FROM balance_transactions")) == 9
    ledger.run("verify", "--from-kafka")


def test_everything_that_is_left_is_given_up(make_ledger):
    """N may be the log's end: what comes next is the first that is processed."""
    ledger = make_ledger(1)
    ledger.publish([event(f"i{number}", 1) for number in range(4)])
    ledger.stack.kafka.delete_records(ledger.topic, 0, -1)
    ledger.start(wait=False)
    assert "begins at 4" in wait_halted(ledger)
    resume(ledger, "--partition", 0, "--at-offset", 4, "--reason", "never ours")
    ledger.publish([event("first", 1)])
    ledger.wait_consumed()
    assert [row["kafka_offset"] for row in ledger.sql("SELECT * FROM balance_transactions")] == [4]
    ledger.run("verify", "--from-kafka")


def test_events_that_the_log_still_has_are_passed_over(make_ledger):
    ledger = make_ledger(2)
    one = ledger.start()
    account = ledger.account_in(0)
    other = ledger.account_in(1)
    ledger.publish([event(f"a{number}", account) for number in range(20)])
    ledger.wait_consumed()
    halt_by_hand(ledger)
    ledger.publish([event(f"b{number}", account) for number in range(20)])
    ledger.publish([event("other", other)])
    resume(ledger, "--partition", 0, "--at-offset", 30, "--reason", "a bad producer")
    resume(ledger, "--partition", 1, "--reason", "nothing was wrong here")
    ledger.wait_consumed()
    ledger.assert_equals_oracle(oracle_without(ledger, (20, 30)))
    ledger.run("verify", "--from-kafka")
    one.wait_ready()


def test_cause_removed_and_cause_still_there(make_ledger):
    ledger = make_ledger(1)
    one = ledger.start()
    ledger.publish([event("a", 1)])
    ledger.wait_consumed()
    ledger.sql("RENAME TABLE dead_letters TO hidden")
    ledger.publish_to(0, b"1", b"junk")
    assert "dead_letters" in wait_halted(ledger)
    ledger.sql("RENAME TABLE hidden TO dead_letters")
    ledger.sql("RENAME TABLE account_balances TO hidden")
    said = ledger.run("resume", "--partition", 0, "--reason", "table restored")
    assert "halts again if the cause is still there" in said
    assert "account_balances" in wait_halted(ledger)
    ledger.sql("RENAME TABLE hidden TO account_balances")
    answer, log = resume(ledger, "--partition", 0, "--reason", "now it is")
    assert answer["gap"] is None and answer["log"] is None and answer["next_offset_after"] == 1
    assert 'msg=resumed' in log and "now it is" in log
    ledger.publish([event("b", 1)])
    ledger.wait_consumed()
    ledger.assert_equals_oracle()
    assert one.process.poll() is None and not gaps_of(ledger)


def test_only_a_halted_partition_is_resumed(make_ledger):
    ledger = make_ledger(1)
    ledger.start()
    ledger.publish([event("a", 1)])
    ledger.wait_consumed()
    assert "not halted" in refused(ledger, "--partition", 0, "--reason", "x")
    assert "not halted" in refused(ledger, "--partition", 0, "--at-offset", 2, "--reason", "x")
    assert "no partition 7" in refused(ledger, "--partition", 7, "--reason", "x")
    assert "--reason" in refused(ledger, "--partition", 0, status=2)
    assert "--reason" in refused(ledger, "--partition", 0, "--reason", "", status=2)
    assert "--partition" in refused(ledger, "--reason", "x", status=2)
    assert "1000" in refused(ledger, "--partition", 0, "--reason", "ä" * 1001, status=2)


def test_offset_that_was_set_back_by_hand(make_ledger):
    """OPERATIONS, "Rows beyond the offset": goes on behind the newest row, and nothing doubles."""
    ledger = make_ledger(1)
    one = ledger.start()
    ledger.publish([event(f"i{number}", 1) for number in range(10)])
    ledger.wait_consumed()
    assert one.stop() == 0
    ledger.sql("UPDATE partition_offsets SET next_offset = 3, redis_offset = 3")
    ledger.publish([event("later", 1)])
    ledger.start("two", wait=False)
    assert "Rows beyond" in wait_halted(ledger)
    assert "they end at 10" in refused(ledger, "--partition", 0, "--at-offset", 9, "--reason", "x")
    resume(ledger, "--partition", 0, "--at-offset", 10, "--reason", "set back by hand")
    ledger.wait_consumed()
    ledger.assert_equals_oracle()
    ledger.run("verify", "--from-kafka")


def test_topic_made_anew_goes_on_behind_the_old_end(make_ledger):
    """OPERATIONS, "Another log": the new log is cut off below next_offset, and what was cut off is
    published again."""
    ledger = make_ledger(1)
    one = ledger.start()
    ledger.publish([event(f"old-{number}", 1) for number in range(3)])
    ledger.wait_consumed()
    ledger.make_topic_anew(1, seen_by=one)
    cut = [event(f"new-{number}", 1) for number in range(3)]
    ledger.publish(cut + [event("new-3", 1), event("new-4", 1)])
    assert "OPERATIONS" in wait_halted(ledger, timeout_s=90)
    ledger.stack.kafka.delete_records(ledger.topic, 0, 3)
    resume(ledger, "--partition", 0, "--reason", "INC-18: topic deleted by mistake")
    ledger.wait_consumed()
    ledger.publish(cut)
    ledger.wait_consumed()
    ids = [row["transaction_id"] for row in ledger.sql("SELECT * FROM balance_transactions")]
    assert sorted(ids) == sorted([f"old-{n}" for n in range(3)] + [f"new-{n}" for n in range(5)])
    assert ledger.sql("SELECT available FROM account_balances")[0]["available"] == 8
    ledger.run("verify", "--from-kafka")
    assert one.process.poll() is None


def test_grown_topic_is_made_anew_with_the_old_number(make_ledger):
    """OPERATIONS, "Growing a topic": filled up to next_offset, cut off below it, and resumed."""
    ledger = make_ledger(2)
    one = ledger.start()
    ledger.publish([event(f"a{account}", account) for account in range(1, 31)])
    ledger.wait_consumed()
    ledger.stack.kafka.grow_topic(ledger.topic, 3)
    for partition in (0, 1):
        assert "Growing a topic" in wait_halted(ledger, partition, 90)
    assert one.stop() == 0
    offsets = ledger.next_offsets()
    ledger.make_topic_anew(2)
    for partition, next_offset in enumerate(offsets):
        for _ in range(next_offset):
            ledger.publish_to(partition, None, b"filler")
        ledger.stack.kafka.delete_records(ledger.topic, partition, next_offset)
    two = ledger.start("two", wait=False)
    for partition in (0, 1):
        resume(ledger, "--partition", partition, "--reason", "INC-19: grown by mistake")
    two.wait_ready()
    ledger.publish([event(f"b{account}", account) for account in range(1, 31)])
    ledger.wait_consumed()
    assert not ledger.sql("SELECT * FROM dead_letters") and not gaps_of(ledger)
    rows = ledger.sql("SELECT available, version FROM account_balances")
    assert len(rows) == 30 and all((row["available"], row["version"]) == (2, 2) for row in rows)
    ledger.run("verify", "--from-kafka")


def test_requested_partition_is_let_go_and_taken_back(make_ledger):
    """What a `replay --apply` does, with the hands of a person: nobody takes it while it is asked
    for, and a request that is not renewed lapses."""
    ledger = make_ledger(2)
    ledger.start()
    held = "SELECT id FROM leader_locks WHERE expires_at > UTC_TIMESTAMP(6) ORDER BY id"
    eventually(lambda: len(ledger.sql(held)) == 2, what="both owned")
    ledger.sql("UPDATE leader_locks SET requested_by = 'replay-7', "
               "requested_at = UTC_TIMESTAMP(6) + INTERVAL 1 HOUR WHERE id = 0")
    eventually(lambda: [row["id"] for row in ledger.sql(held)] == [1], what="let go")
    status = json.loads(ledger.run("status", "--json"))["partitions"]
    assert [one["requested_by"] for one in status] == ["replay-7", None]
    assert "partition 0 is requested by replay-7" in ledger.run("status")
    ledger.publish([event("a", ledger.account_in(0)), event("b", ledger.account_in(1))])
    eventually(lambda: ledger.next_offsets()[1] == 1, what="the other one goes on")
    assert ledger.next_offsets() == [0, 1]
    ledger.sql("UPDATE leader_locks SET requested_at = UTC_TIMESTAMP(6) WHERE id = 0")
    ledger.wait_consumed()
    assert json.loads(ledger.run("status", "--json"))["partitions"][0]["requested_by"] is None
