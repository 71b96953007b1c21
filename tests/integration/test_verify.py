"""`ledgerd verify`: a sound ledger passes, and every single change to it is found and named.

Most tests share one ledger, which a daemon has filled and left. Each damages it by hand, looks at
what verify says, and puts it back.
"""

import json
import threading

import pytest

from harness import Ledger, event, plain, random_events
from oracle import Oracle

TABLES = ["balance_transactions", "account_balances", "dead_letters", "partition_offsets",
          "offset_gaps"]


class Damaged:
    """A filled ledger that can be put back as it was."""

    def __init__(self, ledger):
        self.ledger = ledger
        for table in TABLES:
            ledger.sql(f"CREATE TABLE saved_{table} AS SELECT * FROM {table}")
        self.hashes = {key: ledger.redis.hgetall(key)
                       for key in ledger.redis.scan_iter("balance:*")}

    def restore(self):
        for table in TABLES:
            self.ledger.sql(f"DELETE FROM {table}")
            self.ledger.sql(f"INSERT INTO {table} SELECT * FROM saved_{table}")
        client = self.ledger.redis
        for key in list(client.scan_iter("balance*")):
            client.delete(key)
        for key, value in self.hashes.items():
            client.hset(key, mapping=value)

    def row(self, condition="1", order="kafka_offset"):
        return self.ledger.sql(f"SELECT * FROM balance_transactions WHERE {condition} "
                               f"ORDER BY kafka_partition, {order} LIMIT 1")[0]

    def middle_row(self, condition="1"):
        """One that follows another of its account and is followed by one."""
        return self.row(f"""{condition} AND prev_offset IS NOT NULL AND EXISTS (
            SELECT 1 FROM saved_balance_transactions n WHERE n.kafka_partition =
            balance_transactions.kafka_partition AND n.prev_offset =
            balance_transactions.kafka_offset)""")

    def change(self, row, what):
        self.ledger.sql(f"UPDATE balance_transactions SET {what} WHERE kafka_partition = %s AND "
                        "kafka_offset = %s", row["kafka_partition"], row["kafka_offset"])

    def delete(self, row):
        self.ledger.sql("DELETE FROM balance_transactions WHERE kafka_partition = %s AND "
                        "kafka_offset = %s", row["kafka_partition"], row["kafka_offset"])

    def letter(self, reason):
        return self.ledger.sql("SELECT * FROM dead_letters WHERE reason = %s "
                               "ORDER BY kafka_partition, kafka_offset LIMIT 1", reason)[0]

    def change_letter(self, letter, what, *values):
        self.ledger.sql(f"UPDATE dead_letters SET {what} WHERE kafka_partition = %s AND "
                        "kafka_offset = %s", *values, letter["kafka_partition"],
                        letter["kafka_offset"])

    def balance(self, condition="version > 0"):
        return self.ledger.sql(f"SELECT * FROM account_balances WHERE {condition} "
                               "ORDER BY account_id, currency_code LIMIT 1")[0]

    def change_balance(self, row, what):
        self.ledger.sql(f"UPDATE account_balances SET {what} WHERE account_id = %s AND "
                        "currency_code = %s", row["account_id"], row["currency_code"])

    @staticmethod
    def redis_key(row):
        return f"balance:{{{row['account_id']}}}:{row['currency_code']}"


def verify(ledger, *arguments, status):
    return json.loads(ledger.run("verify", "--json", *arguments, status=status))


def find(report, kind, **wanted):
    """The one difference of this kind with these members, of which texts may be parts."""
    for one in report["listed"]:
        if one["kind"] == kind and all(
                value in one.get(key, "") if isinstance(value, str) else one.get(key) == value
                for key, value in wanted.items()):
            return one
    raise AssertionError(f"no {kind} {wanted} in {json.dumps(report, indent=1)}")


def place_of(row):
    return {"partition": row["kafka_partition"], "offset": row["kafka_offset"]}


def account_of(row):
    return {"account_id": str(row["account_id"]), "currency": row["currency_code"]}


@pytest.fixture(scope="module")
def filled(stack, tmp_path_factory):
    ledger = Ledger(stack, tmp_path_factory.mktemp("filled"), 2)
    one = ledger.start()
    ledger.publish(random_events(1500, seed=8, accounts=40))
    ledger.publish([event("too-much", 41, "WITHDRAW")])
    for partition in range(2):
        account = ledger.account_in(partition)
        key = str(account).encode()
        ledger.publish_to(partition, key, b"no JSON", headers=[("source", b"\x00\xff")])
        ledger.publish_to(partition, key, None)
        ledger.publish_to(partition, None, event("no-key", account))
        ledger.publish_to(1 - partition, key, event("elsewhere", account))
        ledger.publish_to(partition, key, event(f"last-{partition}", account, ts=1767225600123))
        ledger.publish_to(partition, key, event(f"last-{partition}", account, amount="2"))
    ledger.wait_consumed()
    ledger.assert_equals_oracle()
    assert one.stop() == 0
    yield Damaged(ledger)
    ledger.close()


@pytest.fixture
def damaged(filled):
    yield filled
    filled.restore()


def test_sound(filled):
    report = verify(filled.ledger, "--from-kafka", status=0)
    oracle = filled.ledger.oracle()
    assert report["complete"] and report["differences"] == 0
    assert report["partitions"] == 2
    assert report["journal_rows"] == len(oracle.rows)
    assert report["balances"] == len(oracle.balances)
    assert report["dead_letters"] == len(oracle.dead)
    assert report["duplicates"] == len(oracle.duplicates)
    assert report["messages"] == len(oracle.rows) + len(oracle.dead) + len(oracle.duplicates)
    assert report["redis_balances"] == report["redis_keys"] == sum(
        one.version > 0 for one in oracle.balances.values())
    text = filled.ledger.run("verify", status=0)
    assert text.endswith("no differences\n")
    one = verify(filled.ledger, "--partition", 1, "--from-kafka", status=0)
    assert one["partitions"] == 1 and 0 < one["journal_rows"] < report["journal_rows"]
    assert 0 < one["redis_keys"] < report["redis_keys"]


# The journal -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("condition", "change", "what"), [
    ("status = 'SUCCESS'", "amount = amount + 1", "_after"),
    ("status = 'SUCCESS' AND type = 'WITHDRAW'", "type = 'DEPOSIT'", "available_after"),
    ("status = 'SUCCESS'", "status = 'FAILED', reason = 'OVERFLOW'", "status and reason"),
    ("status = 'FAILED'", "status = 'SUCCESS', reason = NULL", "status and reason"),
    ("status = 'FAILED'", "reason = 'OVERFLOW'", "status and reason"),
    ("1", "available_after = available_after + 0.000000000000000001", "available_after"),
    ("1", "frozen_after = frozen_after + 1", "frozen_after"),
    ("1", "frozen_after = -1", "frozen_after"),
])
def test_a_row_against_the_rules(damaged, condition, change, what):
    row = damaged.middle_row(condition)
    damaged.change(row, change)
    report = verify(damaged.ledger, status=3)
    find(report, "journal_outcome", what=what, **place_of(row), **account_of(row))
    assert report["by_kind"]["journal_outcome"] <= 3
    assert "balance" not in report["by_kind"]


@pytest.mark.parametrize(("change", "what"), [
    ("amount = 0", "amount"), ("amount = -5", "amount"), ("account_id = 0", "account_id"),
    ("currency_code = 'us$'", "currency_code"),
])
def test_values_that_nobody_writes(damaged, change, what):
    row = damaged.middle_row()
    damaged.change(row, change)
    find(verify(damaged.ledger, status=3), "value", what=what, **place_of(row))


@pytest.mark.parametrize("to", ["NULL", "prev_offset - 1", "kafka_offset", "kafka_offset + 1",
                                "999999", "-7"])
def test_prev_offset(damaged, to):
    row = damaged.middle_row()
    damaged.change(row, f"prev_offset = {to}")
    report = verify(damaged.ledger, status=3)
    find(report, "journal_chain", expected=str(row["prev_offset"]), **place_of(row))
    assert report["differences"] == 1


def test_a_deleted_row(damaged):
    row = damaged.middle_row("status = 'SUCCESS' AND type = 'DEPOSIT'")
    damaged.delete(row)
    report = verify(damaged.ledger, "--from-kafka", status=3)
    find(report, "journal_chain", found=str(row["kafka_offset"]), **account_of(row))
    find(report, "log_outcome", found="in no table", expected=row["transaction_id"],
         **place_of(row))
    find(report, "balance", found="version", **account_of(row))
    find(report, "sum", currency=row["currency_code"])
    assert report["differences"] == 4


def test_a_deleted_last_row(damaged):
    balance = damaged.balance("version > 5")
    row = damaged.row(f"kafka_partition = {balance['kafka_partition']} AND "
                      f"kafka_offset = {balance['last_offset']}")
    damaged.delete(row)
    report = verify(damaged.ledger, status=3)
    find(report, "balance", found=f"last_offset {row['kafka_offset']}",
         expected=f"last_offset {row['prev_offset']}", **account_of(row))


def test_an_extra_row(damaged):
    """Forged well: in its chain, by the rules, with the balance; only the log knows better."""
    ledger = damaged.ledger
    balance = damaged.balance()
    partition = balance["kafka_partition"]
    place = ledger.next_offsets()[partition]
    ledger.sql("UPDATE partition_offsets SET next_offset = next_offset + 1 "
               "WHERE kafka_partition = %s", partition)
    ledger.sql("INSERT INTO balance_transactions VALUES (%s, %s, 'forged', %s, %s, 'DEPOSIT', 1, "
               "%s + 1, %s, 'SUCCESS', NULL, UTC_TIMESTAMP(3), %s)", partition, place,
               balance["account_id"], balance["currency_code"], balance["available"],
               balance["frozen"], balance["last_offset"])
    damaged.change_balance(balance, "available = available + 1, version = version + 1, "
                                    f"last_offset = {place}")
    ledger.redis.hset(damaged.redis_key(balance), mapping={
        "available": plain(balance["available"] + 1), "version": balance["version"] + 1})
    assert verify(ledger, status=0)["differences"] == 0
    report = verify(ledger, "--from-kafka", status=3)
    find(report, "log_end", partition=partition, expected=str(place + 1))


def test_a_row_in_place_of_a_duplicate(damaged):
    """The second copy of an event was journalled under another id."""
    ledger = damaged.ledger
    partition, place = min(damaged.ledger.oracle().duplicates)
    balance = damaged.balance(f"kafka_partition = {partition}")
    ledger.sql("INSERT INTO balance_transactions VALUES (%s, %s, 'forged', %s, %s, 'WITHDRAW', 1, "
               "0, 0, 'FAILED', 'INSUFFICIENT_AVAILABLE', UTC_TIMESTAMP(3), NULL)", partition,
               place, balance["account_id"], balance["currency_code"])
    report = verify(ledger, "--from-kafka", status=3)
    find(report, "log_content", what="transaction_id", found="forged", partition=partition,
         offset=place)
    find(report, "journal_chain")


def test_rows_beyond_next_offset(damaged):
    row = damaged.row("kafka_partition = 0", order="kafka_offset DESC")
    damaged.ledger.sql("UPDATE partition_offsets SET next_offset = %s WHERE kafka_partition = 0",
                       row["kafka_offset"])
    report = verify(damaged.ledger, status=3)
    find(report, "offsets", partition=0, what="next_offset", found=str(row["kafka_offset"]))
    assert report["by_kind"]["offsets"] >= 1
    damaged.ledger.sql("DELETE FROM partition_offsets WHERE kafka_partition = 0")
    find(verify(damaged.ledger, status=3), "offsets", partition=0, found="missing")


def test_an_account_in_another_partition(damaged):
    account = damaged.ledger.account_in(1, 5)
    damaged.ledger.sql("INSERT INTO balance_transactions VALUES (0, 100000, 'x', %s, 'EUR', "
                       "'DEPOSIT', 1, 1, 0, 'SUCCESS', NULL, UTC_TIMESTAMP(3), NULL)", account)
    damaged.ledger.sql("INSERT INTO account_balances VALUES (%s, 'EUR', 1, 0, 1, 0, 100000, "
                       "UTC_TIMESTAMP(3))", account)
    damaged.ledger.sql("UPDATE partition_offsets SET next_offset = 100001 "
                       "WHERE kafka_partition = 0")
    damaged.ledger.redis.hset(f"balance:{{{account}}}:EUR", mapping={
        "available": "1", "frozen": "0", "version": 1, "updated_at": 1})
    report = verify(damaged.ledger, status=3)
    find(report, "partition", partition=0, offset=100000, found="0", expected="1")
    assert report["differences"] == 1


def test_a_partition_that_is_not(damaged):
    row = damaged.row()
    damaged.change(row, "kafka_partition = 7")
    find(verify(damaged.ledger, status=3), "partition", what="balance_transactions", found="7",
         expected="0 to 1")
    damaged.restore()
    damaged.change_balance(damaged.balance(), "kafka_partition = 7")
    report = verify(damaged.ledger, status=3)
    find(report, "partition", what="account_balances", found="7")
    find(report, "balance", found="kafka_partition 7")


def test_gaps(damaged):
    ends = damaged.ledger.next_offsets()
    damaged.ledger.sql("INSERT INTO offset_gaps (kafka_partition, from_offset, to_offset, reason) "
                       "VALUES (0, 1, 1, ''), (1, 5, %s, '')", ends[1] + 1)
    report = verify(damaged.ledger, status=3)
    find(report, "gap", partition=0, offset=1)
    find(report, "gap", partition=1, offset=5, found=str(ends[1] + 1))
    assert report["gaps"] == report["differences"] == 2


# Balances ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "found", "others"), [
    ("available = available + 0.01", "available", {"sum", "redis"}),
    ("frozen = -frozen - 1", "frozen -", {"sum", "redis"}),
    ("version = version + 1", "version", {"redis"}),
    ("last_offset = last_offset - 1", "last_offset", set()),
    ("kafka_partition = 1 - kafka_partition", "kafka_partition", set()),
])
def test_a_balance(damaged, change, found, others):
    balance = damaged.balance("version > 3 AND frozen > 0")
    damaged.change_balance(balance, change)
    report = verify(damaged.ledger, status=3)
    find(report, "balance", found=found, **account_of(balance))
    assert report["by_kind"] == dict.fromkeys({"balance"} | others, 1)


def test_missing_and_extra_balances(damaged):
    balance = damaged.balance("version > 3")
    damaged.ledger.sql("DELETE FROM account_balances WHERE account_id = %s AND currency_code = %s",
                       balance["account_id"], balance["currency_code"])
    account = damaged.ledger.account_in(0, 90)
    damaged.ledger.sql("INSERT INTO account_balances VALUES (%s, 'EUR', 3, 0, 0, 0, 1, "
                       "UTC_TIMESTAMP(3))", account)
    report = verify(damaged.ledger, status=3)
    find(report, "balance", found="missing", **account_of(balance))
    find(report, "balance", found="available 3", account_id=str(account), currency="EUR")
    find(report, "sum", currency="EUR", found="3")
    find(report, "redis", found="there", **account_of(balance))
    assert report["by_kind"]["balance"] == 2


# The log -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("condition", "change", "what"), [
    ("1", "transaction_id = 'another'", "transaction_id"),
    ("1", "transaction_id = UPPER(transaction_id)", "transaction_id"),
    ("1", "event_time = event_time + INTERVAL 1000 MICROSECOND", "event_time"),
    ("status = 'FAILED'", "amount = amount + 1", "amount"),
])
def test_what_only_the_log_knows(damaged, condition, change, what):
    row = damaged.middle_row(condition)
    damaged.change(row, change)
    assert verify(damaged.ledger, status=0)["differences"] == 0
    report = verify(damaged.ledger, "--from-kafka", status=3)
    find(report, "log_content", what=what, expected="as in the log", **place_of(row))


def test_a_forged_amount(damaged):
    """The whole chain was written anew around it, the balance and Redis too."""
    balance = damaged.balance("version > 3")
    row = damaged.row(f"account_id = {balance['account_id']} AND currency_code = "
                      f"'{balance['currency_code']}' AND status = 'SUCCESS' AND type = 'DEPOSIT'",
                      order="kafka_offset DESC")
    # From there on only what does not turn out otherwise with more money.
    later = damaged.ledger.sql(
        "SELECT COUNT(*) AS failed FROM balance_transactions WHERE account_id = %s AND "
        "currency_code = %s AND kafka_offset > %s AND reason = 'INSUFFICIENT_AVAILABLE'",
        row["account_id"], row["currency_code"], row["kafka_offset"])
    extra = "0.000000000000000001"
    damaged.change(row, f"amount = amount + {extra}")
    damaged.ledger.sql(
        f"UPDATE balance_transactions SET available_after = available_after + {extra} "
        "WHERE account_id = %s AND currency_code = %s AND kafka_offset >= %s",
        row["account_id"], row["currency_code"], row["kafka_offset"])
    damaged.change_balance(balance, f"available = available + {extra}")
    now = damaged.balance(f"account_id = {balance['account_id']} AND "
                          f"currency_code = '{balance['currency_code']}'")
    damaged.ledger.redis.hset(damaged.redis_key(balance), "available", plain(now["available"]))
    assert verify(damaged.ledger, status=0)["differences"] == 0, later
    report = verify(damaged.ledger, "--from-kafka", status=3)
    find(report, "log_content", what="amount", found=plain(row["amount"]), **place_of(row))
    assert report["differences"] == 1


@pytest.mark.parametrize(("reason", "change", "what"), [
    ("MALFORMED", "message_value = CONCAT('N', SUBSTRING(message_value, 2))", "message_value"),
    ("MALFORMED", "message_value = NULL", "message_value"),
    ("MALFORMED", "message_key = NULL", "message_key"),
    ("MALFORMED", "message_headers = '[]'", "message_headers"),
    ("MALFORMED", "message_time = NULL", "message_time"),
    ("MALFORMED", "reason = 'ID_CONFLICT'", "outcome"),
    ("KEY_MISMATCH", "message_key = ''", "message_key"),
    ("KEY_MISMATCH", "reason = 'MALFORMED'", "outcome"),
    ("WRONG_PARTITION", "reason = 'KEY_MISMATCH'", "outcome"),
    ("ID_CONFLICT", "reason = 'MALFORMED'", "outcome"),
    ("ID_CONFLICT", "message_value = CONCAT(message_value, ' ')", "message_value"),
])
def test_a_dead_letter(damaged, reason, change, what):
    letter = damaged.letter(reason)
    damaged.change_letter(letter, change)
    assert verify(damaged.ledger, status=0)["differences"] == 0
    report = verify(damaged.ledger, "--from-kafka", status=3)
    kind = "log_outcome" if what == "outcome" else "log_content"
    find(report, kind, what=what, **place_of(letter))
    assert report["differences"] == 1


@pytest.mark.parametrize("reason", ["MALFORMED", "KEY_MISMATCH", "WRONG_PARTITION", "ID_CONFLICT"])
def test_a_missing_dead_letter(damaged, reason):
    letter = damaged.letter(reason)
    damaged.ledger.sql("DELETE FROM dead_letters WHERE kafka_partition = %s AND kafka_offset = %s",
                       letter["kafka_partition"], letter["kafka_offset"])
    report = verify(damaged.ledger, "--from-kafka", status=3)
    find(report, "log_outcome", found="in no table", expected=reason, **place_of(letter))
    # In a gap, nothing is expected of it.
    damaged.ledger.sql("INSERT INTO offset_gaps (kafka_partition, from_offset, to_offset, reason) "
                       "VALUES (%s, %s, %s, 'test')", letter["kafka_partition"],
                       letter["kafka_offset"], letter["kafka_offset"] + 1)
    assert verify(damaged.ledger, "--from-kafka", status=0)["messages_in_gaps"] == 1


def test_a_dead_letter_too_many(damaged):
    row = damaged.middle_row()
    damaged.ledger.sql("INSERT INTO dead_letters (kafka_partition, kafka_offset, reason) "
                       "VALUES (%s, %s, 'MALFORMED')", *place_of(row).values())
    find(verify(damaged.ledger, status=3), "twice", **place_of(row))
    damaged.restore()
    damaged.ledger.sql("INSERT INTO dead_letters (kafka_partition, kafka_offset, reason) "
                       "VALUES (1, -1, 'MALFORMED')")
    assert verify(damaged.ledger, status=0)["differences"] == 0


# Redis -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "found"), [
    ({"available": "77"}, "available 77,"),
    ({"frozen": "0.5"}, "frozen 0.5,"),
    ({"version": "900"}, "version 900"),
    ({"available": "1.50"}, "in no form that ledgerd writes"),
    ({"available": ""}, "in no form that ledgerd writes"),
])
def test_a_key_of_redis(damaged, change, found):
    balance = damaged.balance()
    damaged.ledger.redis.hset(damaged.redis_key(balance), mapping=change)
    report = verify(damaged.ledger, status=3)
    find(report, "redis", found=found, expected=f"version {balance['version']}",
         **account_of(balance))
    assert report["differences"] == 1
    assert verify(damaged.ledger, "--partition", 1 - balance["kafka_partition"],
                  status=0)["differences"] == 0


def test_keys_too_few_and_too_many(damaged):
    client = damaged.ledger.redis
    balance = damaged.balance()
    client.delete(damaged.redis_key(balance))
    client.hset("balance:{987654321}:USDT", mapping={"available": "1", "version": 1})
    client.set("balance:{01}:USDT", "x")
    client.set("balance", "not ours")
    report = verify(damaged.ledger, status=3)
    find(report, "redis", found="missing", **account_of(balance))
    find(report, "redis", found="there", account_id="987654321")
    find(report, "redis", what="name", found="balance:{01}:USDT")
    assert report["differences"] == 3


def test_a_key_of_a_balance_that_never_changed(damaged):
    balance = damaged.balance("account_id = 41 AND version = 0")
    damaged.ledger.redis.hset(damaged.redis_key(balance), mapping={
        "available": "0", "frozen": "0", "version": 0, "updated_at": 0})
    find(verify(damaged.ledger, status=3), "redis", found="there", **account_of(balance))


def test_without_redis(damaged):
    damaged.ledger.redis.flushall()
    report = verify(damaged.ledger, status=3)
    assert report["by_kind"] == {"redis": report["redis_balances"]}
    assert len(report["listed"]) == 20 < report["differences"]
    ledger = damaged.ledger
    ledger.environment["LEDGERD_REDIS_ENABLED"] = "false"
    try:
        assert "redis_keys" not in verify(ledger, status=0)
    finally:
        del ledger.environment["LEDGERD_REDIS_ENABLED"]


# How it says so ----------------------------------------------------------------------------------


def test_lines_for_people(damaged):
    row = damaged.middle_row("status = 'SUCCESS' AND type = 'DEPOSIT'")
    damaged.change(row, "amount = amount + 1")
    lines = damaged.ledger.run("verify", status=3).splitlines()
    assert lines[0].startswith(
        f"partition {row['kafka_partition']} offset {row['kafka_offset']} "
        f"account {row['account_id']} {row['currency_code']}: available_after is "
        f"{plain(row['available_after'])}, expected {plain(row['available_after'] + 1)} (DEPOSIT")
    assert lines[1].startswith(f"currency {row['currency_code']}: the sum of available and frozen")
    assert "2 differences" in lines


def test_what_cannot_be_done(filled):
    ledger = filled.ledger
    assert "no partition 2" in verify(ledger, "--partition", 2, status=1)["error"]
    for option, value in [("KAFKA_TOPIC", "another"), ("MYSQL_PORT", "1"), ("REDIS_PORT", "1")]:
        name = f"LEDGERD_{option}"
        before = ledger.environment[name]
        ledger.environment[name] = value
        try:
            report = verify(ledger, "--from-kafka", status=1)
            assert not report["complete"] and report["error"]
        finally:
            ledger.environment[name] = before


# Ledgers of their own (from here on Redis is emptied) ---------------------------------------------


def test_beside_a_running_daemon(make_ledger):
    """It reads a moment of the database; Redis may be a little behind."""
    ledger = make_ledger(2, consumer_batch_max_events=200)
    ledger.start()
    events = random_events(30000, seed=3, accounts=300)
    publisher = threading.Thread(target=ledger.publish, args=[events])
    ledger.publish(events[:100])
    ledger.wait_consumed()
    publisher.start()
    runs = 0
    while publisher.is_alive() or runs < 3:
        assert verify(ledger, "--from-kafka", status=0)["differences"] == 0
        runs += 1
    publisher.join()
    ledger.wait_consumed()
    report = verify(ledger, "--from-kafka", status=0)
    assert report["messages"] == 30100


def test_a_log_that_has_lost_its_beginning(make_ledger):
    ledger = make_ledger(1)
    one = ledger.start()
    ledger.publish(random_events(500, seed=5, accounts=20))
    ledger.wait_consumed()
    one.stop()
    ledger.stack.kafka.delete_records(ledger.topic, 0, 200)
    report = verify(ledger, "--from-kafka", status=0)
    assert "begins at offset 200" in report["notes"][0]
    assert report["messages"] == 300
    # The chains below it are still checked, contents no longer.
    ledger.sql("UPDATE balance_transactions SET transaction_id = CONCAT(transaction_id, 'x') "
               "WHERE kafka_offset < 200 ORDER BY kafka_offset LIMIT 1")
    verify(ledger, "--from-kafka", status=0)
    ledger.sql("UPDATE balance_transactions SET amount = amount + 1 "
               "WHERE status = 'SUCCESS' ORDER BY kafka_offset LIMIT 1")
    verify(ledger, "--from-kafka", status=3)
    ledger.stack.kafka.delete_records(ledger.topic, 0, 500)
    assert "nothing below" in verify(ledger, "--from-kafka", status=3)["notes"][0]


def test_transactions_of_producers(make_ledger):
    """Aborted messages and control records are offsets that nobody was given."""
    ledger = make_ledger(1)
    one = ledger.start()
    ledger.publish([event("a", 1, amount="5")])
    ledger.publish_transaction([event("b", 1), event("c", 1)], commit=False)
    ledger.publish_transaction([event("d", 1)], commit=True)
    ledger.wait_consumed()
    one.stop()
    assert verify(ledger, "--from-kafka", status=0)["messages"] == 2
    ledger.sql("INSERT INTO dead_letters (kafka_partition, kafka_offset, reason) "
               "VALUES (0, 1, 'MALFORMED')")
    find(verify(ledger, "--from-kafka", status=3), "log_no_record", partition=0, offset=1)


def store(ledger, oracle, next_offset):
    """Writes what the plain ledger says into the tables."""
    with ledger.mysql() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO balance_transactions VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, "
            "'1970-01-01' + INTERVAL %s * 1000 MICROSECOND, %s)",
            [(*place, row.event.transaction_id, row.event.account, row.event.currency,
              row.event.type, row.event.amount, row.available_after, row.frozen_after, row.status,
              row.reason, row.event.time, row.prev_offset) for place, row in oracle.rows.items()])
        cursor.executemany(
            "INSERT INTO account_balances VALUES (%s, %s, %s, %s, %s, %s, %s, UTC_TIMESTAMP(3))",
            [(*key, one.available, one.frozen, one.version, one.partition, one.last_offset)
             for key, one in oracle.balances.items()])
        cursor.execute("UPDATE partition_offsets SET next_offset = %s", [next_offset])


def test_replayed_rows(make_ledger):
    """After a gap was replayed, chains lead to larger offsets; what the plain ledger makes of it
    passes, and a row out of its turn does not."""
    ledger = make_ledger(1, redis_enabled="false")
    one = ledger.start()
    ledger.publish([event("first", 1)])
    ledger.wait_consumed()
    one.stop()
    ledger.publish(random_events(900, seed=12, accounts=15))
    log = ledger.messages(0)
    gap = [message for message in log if 200 <= message[0] < 260]
    oracle = Oracle(1)
    for offset, key, value, time in log:
        if offset == 600:
            for late in gap:
                if oracle.feed(0, *late) == "dead_letter":
                    del oracle.dead[0, late[0]]
        if not 200 <= offset < 260:
            oracle.feed(0, offset, key, value, time)
    for place, (reason, key, value) in oracle.dead.items():
        ledger.sql("INSERT INTO dead_letters (kafka_partition, kafka_offset, reason, message_key, "
                   "message_value, message_time) VALUES (%s, %s, %s, %s, %s, '1970-01-01' + "
                   "INTERVAL %s * 1000 MICROSECOND)", *place, reason, key, value,
                   log[place[1]][3])
    ledger.sql("DELETE FROM balance_transactions")
    ledger.sql("DELETE FROM account_balances")
    ledger.sql("INSERT INTO offset_gaps (kafka_partition, from_offset, to_offset, reason) "
               "VALUES (0, 200, 260, 'test')")
    store(ledger, oracle, len(log))
    late = ledger.sql("SELECT * FROM balance_transactions WHERE prev_offset > kafka_offset "
                      "ORDER BY kafka_offset")
    assert len(late) > 10
    report = verify(ledger, "--from-kafka", status=0)
    assert report["journal_rows"] == len(oracle.rows) and report["gaps"] == 1
    row = late[3]
    ledger.sql("UPDATE balance_transactions SET prev_offset = %s WHERE kafka_offset = %s",
               row["prev_offset"] - 1, row["kafka_offset"])
    report = verify(ledger, status=3)
    find(report, "journal_chain", offset=row["kafka_offset"])
    assert report["differences"] == 1


def test_a_database_without_a_log(make_ledger):
    ledger = make_ledger(1)
    assert "belongs to no log yet" in verify(ledger, status=1)["error"]
    ledger.sql("UPDATE ledger_meta SET schema_version = schema_version - 1")
    assert "ledgerd migrate" in verify(ledger, status=1)["error"]
