"""The plain ledger: what must become of a log, decided one message at a time.

It is written from the contract alone and shares nothing with ledgerd: Python's json and decimal,
dictionaries without limits, no batches. It is fed with what a Kafka client reads.
"""

import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal, getcontext
from functools import lru_cache

from kafka.partitioner.default import murmur2

getcontext().prec = 80

MOST = Decimal(10) ** 18 - Decimal(10) ** -18
TIME_MAX = 253402300799999
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
FIELDS = ("transaction_id", "account_id", "currency", "type", "amount", "ts")
EFFECT = {  # type: (available, frozen, reason of a shortfall)
    "DEPOSIT": (+1, 0, None),
    "WITHDRAW": (-1, 0, "INSUFFICIENT_AVAILABLE"),
    "FREEZE": (-1, +1, "INSUFFICIENT_AVAILABLE"),
    "UNFREEZE": (+1, -1, "INSUFFICIENT_FROZEN"),
    "SETTLE": (0, -1, "INSUFFICIENT_FROZEN"),
}


class Malformed(Exception):
    pass


class Number(str):
    """A JSON number, as it is written."""


def need(condition):
    if not condition:
        raise Malformed


def pairs_to_dict(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [key for key, _ in pairs]
        need(all(names.count(name) <= 1 for name in FIELDS))
    return found


def reject(text):
    raise Malformed(text)  # NaN, Infinity


DECODER = json.JSONDecoder(parse_float=Number, parse_int=Number, parse_constant=reject,
                           object_pairs_hook=pairs_to_dict)


def depth(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (1 if isinstance(value, (dict, list)) else 0) + max(map(depth, inner), default=0)


def read_amount(value):
    need(isinstance(value, str) and NUMBER.fullmatch(value))
    exponent = re.search(r"[eE]([+-]?[0-9]+)$", value)
    if exponent and len(exponent[1]) > 6:
        raise Malformed  # no 4 KiB of digits bring it back into range
    amount = Decimal(value)
    with_places = amount.as_tuple()
    need(0 < amount < Decimal(10) ** 18)
    digits, exponent = list(with_places.digits), with_places.exponent
    while exponent < -18 and digits and digits[-1] == 0:
        digits.pop()
        exponent += 1
    need(exponent >= -18)
    return amount


@dataclass
class Event:
    transaction_id: str
    account: int
    currency: str
    type: str
    amount: Decimal
    time: int

    @property
    def content(self):
        return self.currency, self.type, self.amount


def decode(value, timestamp):
    need(value is not None and len(value) <= 4096)
    try:
        message = DECODER.decode(value.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Malformed from None
    need(isinstance(message, dict) and depth(message) <= 64)
    for name in FIELDS[:-1]:
        need(isinstance(message.get(name), str))
    for name in ("transaction_id", "currency", "type"):
        need(not isinstance(message[name], Number))
    need(re.fullmatch(r"[!-}][!-~]{0,63}", message["transaction_id"]))
    need(re.fullmatch(r"[1-9][0-9]{0,18}", message["account_id"]))
    need(int(message["account_id"]) < 2 ** 63)
    need(re.fullmatch(r"[A-Z0-9]{1,10}", message["currency"]))
    need(message["type"] in EFFECT)
    time = min(max(timestamp, 0), TIME_MAX)
    if "ts" in message:
        need(isinstance(message["ts"], Number) and re.fullmatch(r"0|[1-9][0-9]*", message["ts"]))
        time = int(message["ts"])
        need(time <= TIME_MAX)
    return Event(message["transaction_id"], int(message["account_id"]), message["currency"],
                 message["type"], read_amount(message["amount"]), time)


@lru_cache(1 << 16)  # in Python it is slow
def partition_of(key, partitions):
    return (murmur2(key) & 0x7FFFFFFF) % partitions


@dataclass
class Balance:
    available: Decimal = Decimal(0)
    frozen: Decimal = Decimal(0)
    version: int = 0
    last_offset: int = None
    partition: int = None


@dataclass
class Row:
    event: Event
    status: str
    reason: str
    available_after: Decimal
    frozen_after: Decimal
    prev_offset: int


@dataclass
class Oracle:
    partitions: int
    rows: dict = field(default_factory=dict)          # (partition, offset): Row
    dead: dict = field(default_factory=dict)          # (partition, offset): (reason, key, value)
    duplicates: set = field(default_factory=set)      # (partition, offset)
    balances: dict = field(default_factory=lambda: defaultdict(Balance))
    known: dict = field(default_factory=dict)         # (account, id): content

    def feed(self, partition, offset, key, value, timestamp):
        """The next message of a partition. Returns its outcome in one word."""
        place = (partition, offset)
        reason, event = self.classify(partition, key, value, timestamp)
        if reason is None:
            content = self.known.get((event.account, event.transaction_id))
            if content is None:
                self.known[event.account, event.transaction_id] = event.content
                self.rows[place] = self.apply(partition, offset, event)
                return "applied" if self.rows[place].status == "SUCCESS" else "refused"
            if content == event.content:
                self.duplicates.add(place)
                return "duplicate"
            reason = "ID_CONFLICT"
        self.dead[place] = (reason, key, value)
        return "dead_letter"

    def classify(self, partition, key, value, timestamp):
        try:
            event = decode(value, timestamp)
        except Malformed:
            return "MALFORMED", None
        if key != str(event.account).encode():
            return "KEY_MISMATCH", None
        if partition_of(key, self.partitions) != partition:
            return "WRONG_PARTITION", None
        return None, event

    def apply(self, partition, offset, event):
        balance = self.balances[event.account, event.currency]
        to_available, to_frozen, shortfall = EFFECT[event.type]
        available = balance.available + to_available * event.amount
        frozen = balance.frozen + to_frozen * event.amount
        reason = None
        if available < 0 or frozen < 0:
            reason = shortfall
        elif available > MOST or frozen > MOST:
            reason = "OVERFLOW"
        else:
            balance.available, balance.frozen = available, frozen
            balance.version += 1
        row = Row(event, "FAILED" if reason else "SUCCESS", reason, balance.available,
                  balance.frozen, balance.last_offset)
        balance.last_offset, balance.partition = offset, partition
        return row
