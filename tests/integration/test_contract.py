"""The contract, line by line, on real servers: what becomes of each kind of message.

Each table sends its messages in one go and compares every outcome with what the contract says,
written here by hand; the whole log is then compared with the oracle as well.
"""

import json
import struct
from decimal import Decimal

import pytest

from harness import event, eventually

MOST = "999999999999999999.999999999999999999"
TINY = "0.000000000000000001"


def fields(**changes):
    """A good event's fields with some changed; a value of ... drops the field."""
    base = {"transaction_id": "t", "account_id": 1, "currency": "USDT", "type": "DEPOSIT",
            "amount": "10.5", "ts": 1767225600000}
    return {key: value for key, value in (base | changes).items() if value is not ...}


def message(**changes):
    return json.dumps(fields(**changes)).encode()


def raw(text):
    """An event with this text in the place of the amount."""
    return message(amount="@").replace(b'"@"', text)


GOOD = {
    "as in the contract": message(),
    "amount as number": raw(b"10.5"),
    "amount with exponent": raw(b"1e3"),
    "amount with trailing zeros": raw(b'"1.0000000000000000000"'),
    "smallest amount": message(amount=TINY),
    "largest amount": message(amount=MOST),
    "exponent brings it into range": message(amount="0.00000000000000000000000001e10"),
    "a long amount": message(amount="1." + "0" * 3000),
    "account as text": message(account_id="1"),
    "no ts": message(ts=...),
    "ts zero": message(ts=0),
    "last ts": message(ts=253402300799999),
    "unknown members": message(note={"a": [1, 2, {"b": None}]}, other=1.5e300),
    "key with an escape": message().replace(b'"currency"', b'"curr\\u0065ncy"'),
    "value with an escape": message().replace(b'"DEPOSIT"', b'"D\\u0045POSIT"'),
    "white space": b" \t\r\n" + message() + b"\n ",
    "64 characters of id": message(transaction_id="x" * 64),
    "any printable id": message(transaction_id="!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    "10 characters of currency": message(currency="ABCDEFGH09"),
    "nested 63 deep beside the object": message(deep="@").replace(b'"@"', b"[" * 63 + b"]" * 63),
    "lone surrogate in an ignored member": message(note="@").replace(b'"@"', b'"\\ud800"'),
    "4096 bytes": message(pad="").replace(b'""', b'"' + b"p" * (4096 - len(message(pad=""))) + b'"'),
}

MALFORMED = {
    "empty": b"",
    "no JSON": b"hello",
    "not an object": b"[1]",
    "cut off": message()[:-1],
    "something behind it": message() + b"x",
    "byte order mark": b"\xef\xbb\xbf" + message(),
    "not UTF-8": message(note="@").replace(b"@", b"\xff"),
    "overlong UTF-8": message(note="@").replace(b"@", b"\xc0\xaf"),
    "control character in a string": message(note="@").replace(b"@", b"\x01"),
    "trailing comma": message().replace(b"}", b",}"),
    "single quotes": message().replace(b'"', b"'"),
    "NaN somewhere": message(note="@").replace(b'"@"', b"NaN"),
    "bad escape": message(note="@").replace(b"@", b"\\x41"),
    "number with leading zero": message(note="@").replace(b'"@"', b"01"),
    "4097 bytes": message(pad="").replace(b'""', b'"' + b"p" * (4097 - len(message(pad=""))) + b'"'),
    "nested too deep": message(deep="@").replace(b'"@"', b"[" * 70 + b"]" * 70),
    "no id": message(transaction_id=...),
    "empty id": message(transaction_id=""),
    "id too long": message(transaction_id="x" * 65),
    "id with space": message(transaction_id="a b"),
    "id not ASCII": message(transaction_id="ä"),
    "id reserved": message(transaction_id="~a"),
    "id a number": message(transaction_id=5),
    "no account": message(account_id=...),
    "account zero": message(account_id=0),
    "account negative": message(account_id=-1),
    "account too large": message(account_id=2 ** 63),
    "account with fraction": message(account_id=1.5),
    "account with exponent": message(account_id="@").replace(b'"@"', b"1e0"),
    "account with leading zero": message(account_id="01"),
    "account null": message(account_id=None),
    "no currency": message(currency=...),
    "currency lower case": message(currency="usdt"),
    "currency too long": message(currency="ABCDEFGHIJK"),
    "currency empty": message(currency=""),
    "no type": message(type=...),
    "unknown type": message(type="TRANSFER"),
    "type in lower case": message(type="deposit"),
    "no amount": message(amount=...),
    "amount zero": message(amount="0"),
    "amount zero with exponent": message(amount="0e5"),
    "amount negative": message(amount="-1"),
    "amount with plus": message(amount="+1"),
    "amount with leading zero": message(amount="01"),
    "amount without digit before the point": message(amount=".5"),
    "amount without digit behind the point": message(amount="5."),
    "amount with space": message(amount=" 1"),
    "amount too fine": message(amount="1e-19"),
    "amount too large": message(amount="1000000000000000000"),
    "amount with a huge exponent": message(amount="1e999999999999"),
    "amount hexadecimal": message(amount="0x10"),
    "amount infinite": message(amount="Infinity"),
    "amount true": message(amount=True),
    "ts negative": message(ts=-1),
    "ts too late": message(ts=253402300800000),
    "ts as text": message(ts="1767225600000"),
    "ts with exponent": message(ts="@").replace(b'"@"', b"1e3"),
    "ts with fraction": message(ts=1.5),
    "id twice": message().replace(b"{", b'{"transaction_id":"u",'),
    "amount twice, once escaped": message().replace(b"{", b'{"\\u0061mount":"1",'),
    "ts twice": message().replace(b"{", b'{"ts":1,'),
}


def test_good_messages(make_ledger):
    """Each is applied, on an account of its own."""
    ledger = make_ledger(1)
    ledger.start()
    keys = [str(number + 1).encode() for number in range(len(GOOD))]
    values = [value.replace(b'"account_id": 1', b'"account_id": ' + key)
              .replace(b'"account_id": "1"', b'"account_id": "' + key + b'"')
              for key, value in zip(keys, GOOD.values(), strict=True)]
    # The replacement may lengthen the one that is exactly as long as allowed.
    values = [value.replace(b"pp", b"p", 1) if len(value) == 4097 else value for value in values]
    ledger.publish(values, keys)
    ledger.wait_consumed()
    found = {row["kafka_offset"]: row["status"] for row in ledger.sql(
        "SELECT kafka_offset, status FROM balance_transactions")}
    assert found == dict.fromkeys(range(len(GOOD)), "SUCCESS"), \
        [name for offset, name in enumerate(GOOD) if offset not in found]
    ledger.assert_equals_oracle()


def test_malformed_messages(make_ledger):
    """Each is a dead letter with its bytes, and the partition goes on."""
    ledger = make_ledger(1)
    one = ledger.start()
    ledger.publish([*MALFORMED.values(), message(transaction_id="last")],
                   [b"1"] * (len(MALFORMED) + 1))
    ledger.publish_to(0, b"1", None)
    ledger.wait_consumed()
    one.wait_counted()
    rows = ledger.sql("SELECT kafka_offset, reason, detail, message_value FROM dead_letters "
                      "ORDER BY kafka_offset")
    names = [*MALFORMED, "the good one", "a null value"]
    found = {row["kafka_offset"] for row in rows}
    assert [name for offset, name in enumerate(names) if offset not in found] == ["the good one"]
    assert {row["reason"] for row in rows} == {"MALFORMED"}
    assert all(row["detail"] for row in rows)
    assert [row["message_value"] for row in rows] == [*MALFORMED.values(), None]
    assert one.metric("ledger_dead_letters_total", reason="MALFORMED") == len(rows)
    ledger.assert_equals_oracle()


def test_effects_and_refusals(ledger):
    """The table of effects: every type, both ways."""
    one = ledger.start()
    steps = [  # id, type, amount, status, reason, available, frozen
        ("d1", "DEPOSIT", "100", "SUCCESS", None, "100", "0"),
        ("w1", "WITHDRAW", "100.000000000000000001", "FAILED", "INSUFFICIENT_AVAILABLE", "100", "0"),
        ("w2", "WITHDRAW", "40", "SUCCESS", None, "60", "0"),
        ("f1", "FREEZE", "61", "FAILED", "INSUFFICIENT_AVAILABLE", "60", "0"),
        ("f2", "FREEZE", "25.5", "SUCCESS", None, "34.5", "25.5"),
        ("u1", "UNFREEZE", "26", "FAILED", "INSUFFICIENT_FROZEN", "34.5", "25.5"),
        ("u2", "UNFREEZE", "5.5", "SUCCESS", None, "40", "20"),
        ("s1", "SETTLE", "21", "FAILED", "INSUFFICIENT_FROZEN", "40", "20"),
        ("s2", "SETTLE", "20", "SUCCESS", None, "40", "0"),
        ("d2", "DEPOSIT", MOST, "FAILED", "OVERFLOW", "40", "0"),
        ("w3", "WITHDRAW", "40", "SUCCESS", None, "0", "0"),
        ("d3", "DEPOSIT", MOST, "SUCCESS", None, MOST, "0"),
        ("d4", "DEPOSIT", TINY, "FAILED", "OVERFLOW", MOST, "0"),
        ("f3", "FREEZE", MOST, "SUCCESS", None, "0", MOST),
        ("d5", "DEPOSIT", TINY, "SUCCESS", None, TINY, MOST),
        ("f4", "FREEZE", TINY, "FAILED", "OVERFLOW", TINY, MOST),
    ]
    ledger.publish([event(id, 7, type, amount) for id, type, amount, *_ in steps])
    ledger.wait_consumed()
    rows = ledger.sql("SELECT * FROM balance_transactions ORDER BY kafka_offset")
    found = [(row["transaction_id"], row["type"], row["amount"], row["status"], row["reason"],
              row["available_after"], row["frozen_after"]) for row in rows]
    assert found == [(id, type, Decimal(amount), status, reason, Decimal(available), Decimal(frozen))
                     for id, type, amount, status, reason, available, frozen in steps]
    one.wait_counted()
    assert one.metric("ledger_events_total", result="applied") == 9
    assert one.metric("ledger_events_total", result="refused") == 7
    ledger.assert_equals_oracle()


def test_duplicates_and_conflicts(ledger):
    """One id: the same content however it is written, another content, another account."""
    one = ledger.start()
    ledger.publish([
        event("x", 7, amount="10.5"),
        event("x", 7, amount="10.50"),                # duplicate
        event("x", 7, amount="1050e-2"),              # duplicate
        event("x", 7, amount="10.5", ts=5),           # duplicate: the time is no content
        event("x", 7, amount="11"),                   # conflict
        event("x", 7, amount="10.5", currency="USD"), # conflict
        event("x", 7, "FREEZE", "10.5"),              # conflict
        event("X", 7, amount="1"),                    # another id
        event("x", 8, amount="1"),                    # another account
        event("r", 7, "WITHDRAW", "99"),              # refused
        event("r", 7, "WITHDRAW", "99"),              # stays refused: duplicate
        event("r", 7, "WITHDRAW", "1"),               # conflict with the refusal
    ])
    ledger.wait_consumed()
    one.wait_counted()
    assert one.metric("ledger_events_total", result="duplicate") == 4
    assert one.metric("ledger_dead_letters_total", reason="ID_CONFLICT") == 4
    oracle = ledger.assert_equals_oracle()
    assert len(oracle.rows) == 4


def test_dead_letter_ids_are_not_remembered(make_ledger):
    ledger = make_ledger(1)
    ledger.start()
    ledger.publish([event("x", 1, amount="0"), event("x", 1, amount="5"),
                    event("x", 2, amount="5"), event("y", 3, amount="5")],
                   [b"1", b"1", b"1", b"3"])
    ledger.wait_consumed()
    oracle = ledger.assert_equals_oracle()
    assert [reason for reason, *_ in oracle.dead.values()] == ["MALFORMED", "KEY_MISMATCH"]


def test_key_mismatch_and_wrong_partition(ledger):
    one = ledger.start()
    here, there = ledger.account_in(0), ledger.account_in(1)
    ledger.publish_to(0, str(here).encode(), event("a", here))
    ledger.publish_to(0, b"0" + str(here).encode(), event("b", here))
    ledger.publish_to(0, None, event("c", here))
    ledger.publish_to(0, b"", event("d", here))
    ledger.publish_to(0, str(there).encode(), event("e", there))
    ledger.publish_to(0, str(there).encode(), event("f", here))
    ledger.publish_to(0, str(there).encode(), b"junk")
    ledger.wait_consumed()
    reasons = [row["reason"] for row in ledger.sql(
        "SELECT reason FROM dead_letters ORDER BY kafka_offset")]
    assert reasons == ["KEY_MISMATCH"] * 3 + ["WRONG_PARTITION", "KEY_MISMATCH", "MALFORMED"]
    one.wait_counted()
    assert one.metric("ledger_dead_letters_total", reason="WRONG_PARTITION") == 1
    ledger.assert_equals_oracle()


def test_dead_letter_row(make_ledger):
    """Raw bytes, headers and Kafka's time are kept."""
    ledger = make_ledger(1)
    ledger.start()
    every_byte = bytes(range(256))
    ledger.publish_to(0, every_byte, every_byte * 4, timestamp_ms=1767225600123,
                      headers=[("trace", b"abc"), ("trace", b"")])
    ledger.wait_consumed()
    row, = ledger.sql("SELECT * FROM dead_letters")
    assert (row["message_key"], row["message_value"]) == (every_byte, every_byte * 4)
    assert str(row["message_time"]) == "2026-01-01 00:00:00.123000"
    assert json.loads(row["message_headers"])[0] == ["trace", "abc"]
    assert row["created_at"] and row["redriven_at"] is None


def test_event_time(make_ledger):
    """ts, else Kafka's time."""
    ledger = make_ledger(1)
    ledger.start()
    ledger.publish_to(0, b"1", event("a", 1, ts=0), timestamp_ms=1767225600123)
    ledger.publish_to(0, b"1", event("b", 1), timestamp_ms=1767225600123)
    ledger.publish_to(0, b"1", event("c", 1, ts=253402300799999))
    ledger.wait_consumed()
    times = [str(row["event_time"]) for row in ledger.sql(
        "SELECT event_time FROM balance_transactions ORDER BY kafka_offset")]
    assert times == ["1970-01-01 00:00:00", "2026-01-01 00:00:00.123000",
                     "9999-12-31 23:59:59.999000"]


def test_statement_view_and_chain(ledger):
    """prev_offset leads through all rows of an account and currency; the view has both balances."""
    ledger.start()
    ledger.publish([event(f"i{number}", 7, currency=("USD", "EUR")[number % 2],
                          amount=str(number + 1)) for number in range(10)])
    ledger.wait_consumed()
    rows = {row["kafka_offset"]: row for row in ledger.sql("SELECT * FROM balance_statement")}
    balance, = ledger.sql("SELECT * FROM account_balances WHERE currency_code = 'USD'")
    offset, met = balance["last_offset"], []
    while offset is not None:
        row = rows[offset]
        met.append(row["amount"])
        assert row["available_after"] - row["available_before"] == row["amount"]
        offset = row["prev_offset"]
    assert met == [9, 7, 5, 3, 1]
    assert balance["version"] == 5


def test_redis_has_plain_decimals(ledger):
    ledger.start()
    ledger.publish([event("a", 7, amount="10.50"), event("b", 8, amount=TINY),
                    event("c", 9, "WITHDRAW", "1")])
    ledger.wait_consumed()
    eventually(lambda: len(ledger.redis_balances()) == 2, what="two keys in Redis")
    found = ledger.redis.hgetall("balance:{7}:USDT")
    assert (found["available"], found["frozen"], found["version"]) == ("10.5", "0", "1")
    assert abs(int(found["updated_at"]) / 1000 - ledger.sql("SELECT UNIX_TIMESTAMP() AS now")[0]["now"]) < 60
    assert ledger.redis.hget("balance:{8}:USDT", "available") == TINY


def test_transactions_are_read_committed(make_ledger):
    """Aborted events never happened; next_offset reaches the log's end all the same."""
    ledger = make_ledger(1)
    ledger.start()
    ledger.publish_transaction([event("a", 1)], commit=True)
    ledger.publish_transaction([event("b", 1)], commit=False)
    ledger.publish_transaction([event("c", 1)], commit=True)
    ledger.publish_transaction([event("d", 1)], commit=False)
    ledger.wait_consumed()
    ids = [row["transaction_id"] for row in ledger.sql(
        "SELECT transaction_id FROM balance_transactions ORDER BY kafka_offset")]
    assert ids == ["a", "c"]
    assert ledger.next_offsets() == [8]


def test_lag_is_visible_to_kafka(make_ledger):
    """The offset is committed to the group ledger.<name>."""
    from kafka import KafkaAdminClient
    ledger = make_ledger(1)
    ledger.start()
    ledger.publish([event(f"i{number}", 1) for number in range(5)])
    ledger.wait_consumed()
    admin = KafkaAdminClient(bootstrap_servers=ledger.stack.kafka.address)

    def committed():
        offsets = admin.list_consumer_group_offsets(f"ledger.{ledger.database}")
        return [offset.offset for place, offset in offsets.items() if place.topic == ledger.topic]

    eventually(lambda: committed() == [5], what="offset 5 in the group")
    admin.close()


@pytest.mark.parametrize("size", [1_000_000, 9_000_000])
def test_megabytes_of_junk(make_ledger, size):
    """As large as Kafka takes it, with bytes that LOAD DATA must escape."""
    ledger = make_ledger(1)
    ledger.start()
    junk = struct.pack("<I", size) + b"\t\n\\\0\x1a'\"" * (size // 7)
    offset = ledger.publish_to(0, b"1", junk)
    ledger.publish_to(0, b"1", event("good", 1))
    ledger.wait_consumed()
    row, = ledger.sql("SELECT * FROM dead_letters")
    assert (row["kafka_offset"], row["message_value"]) == (offset, junk)
    ledger.assert_equals_oracle()
