"""What must be true when the faults are over and everything is consumed.

The oracle reads the log once more, message by message, beside the rows of the journal and the
dead letters, so that neither has to fit into memory; what it keeps of a partition is the ids and
balances.
"""

import multiprocessing
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

import paths  # noqa: F401
import pymysql
from harness import (assert_same, balance_row, dead_letter, expected_balance, expected_row,
                     journal_row, read_log)
from oracle import Oracle

SHOWN = 10
JOURNAL = """SELECT kafka_offset, transaction_id, account_id, currency_code, type, amount, status,
                    reason, available_after, frozen_after, prev_offset
             FROM balance_transactions WHERE kafka_partition = %s ORDER BY kafka_offset"""
DEAD = """SELECT kafka_offset, reason, message_key, message_value
          FROM dead_letters WHERE kafka_partition = %s ORDER BY kafka_offset"""
BALANCES = "SELECT * FROM account_balances WHERE kafka_partition = %s"


@dataclass
class Where:
    """The servers, for a process of its own."""

    kafka: str
    topic: str
    partitions: int
    mysql: dict  # PyMySQL's arguments


@dataclass
class Findings:
    messages: int = 0
    outcomes: Counter = field(default_factory=Counter)
    balances: int = 0
    differences: list = field(default_factory=list)

    def differ(self, text):
        if len(self.differences) < SHOWN:
            self.differences.append(text)

    def add(self, other):
        self.messages += other.messages
        self.outcomes += other.outcomes
        self.balances += other.balances
        self.differences += other.differences


class Rows:
    """Rows in the order of their offsets, one at a time."""

    def __init__(self, what, cursor, statement, partition, form):
        self.what = what
        self.partition = partition
        self.form = form
        cursor.execute(statement, (partition,))
        self.rows = iter(cursor)
        self.ahead = next(self.rows, None)

    def expect(self, offset, expected, findings):
        """The row at an offset must be this one; None: there must be none, nor any before it."""
        while self.ahead and self.ahead["kafka_offset"] < offset:
            findings.differ(f"{self.what}: too many: {self.ahead}")
            self.ahead = next(self.rows, None)
        found = None
        if self.ahead and self.ahead["kafka_offset"] == offset:
            found = self.form(self.ahead)
            self.ahead = next(self.rows, None)
        if found != expected:
            findings.differ(f"{self.what}: partition {self.partition}, offset {offset}: found "
                            f"{found}, expected {expected}")


def check_partition(where, partition):
    """One partition's log, folded by the oracle, against its rows."""
    stream = pymysql.cursors.SSDictCursor
    with closing(pymysql.connect(**where.mysql, cursorclass=stream)) as one, \
            closing(pymysql.connect(**where.mysql, cursorclass=stream)) as two:
        journal = Rows("journal", one.cursor(), JOURNAL, partition, journal_row)
        dead = Rows("dead letters", two.cursor(), DEAD, partition, dead_letter)
        messages = read_log(where.kafka, where.topic, partition)
        findings, oracle = fold(messages, partition, where.partitions, journal, dead)
    compare_balances(where, partition, oracle, findings)
    return findings


def fold(messages, partition, partitions, journal, dead):
    findings, oracle = Findings(), Oracle(partitions)
    offset = -1
    for offset, key, value, timestamp in messages:
        place = (partition, offset)
        findings.messages += 1
        findings.outcomes[oracle.feed(partition, offset, key, value, timestamp)] += 1
        row = oracle.rows.pop(place, None)
        journal.expect(offset, row and expected_row(row), findings)
        dead.expect(offset, oracle.dead.pop(place, None), findings)
    for rows in (journal, dead):
        rows.expect(offset + 1, None, findings)
        if rows.ahead:
            findings.differ(f"{rows.what}: beyond the log: {rows.ahead}")
    return findings, oracle


def compare_balances(where, partition, oracle, findings):
    with closing(pymysql.connect(**where.mysql, cursorclass=pymysql.cursors.DictCursor)) as mysql, \
            mysql.cursor() as cursor:
        cursor.execute(BALANCES, (partition,))
        found = {(row["account_id"], row["currency_code"]): balance_row(row) for row in cursor}
    findings.balances = len(found)
    try:
        assert_same(found, {key: expected_balance(one) for key, one in oracle.balances.items()},
                    f"balances of partition {partition}")
    except AssertionError as error:
        findings.differ(str(error))


def check_all(where, processes=4):
    """All partitions; each has a process, as Python uses one core."""
    findings = Findings()
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        for one in pool.map(check_partition, [where] * where.partitions, range(where.partitions)):
            findings.add(one)
    return findings
