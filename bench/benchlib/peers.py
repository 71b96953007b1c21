"""ledgerd beside its ceiling and beside others who do the same, or a part of it, on the same server.

In this order: ceiling and ledgerd with the full topic; one transaction an event with row locks
(row_locks.c), uniform and on one account; Kafka Connect with Debezium's JDBC sink, which is given
the rows that ledgerd made, since it has no rules of its own (connect.py). Whoever cannot be
installed here is left out, and the table says why.
"""

import json
import subprocess

from benchlib import connect, end_to_end, machine
from benchlib.bench import DATABASE
from benchlib.errors import Failed

ROW_LOCKS_PART = 15  # of the events, one in so many: they are that much slower
THREADS = 8


def measure(bench):
    bench.start_stack()
    found = {"settings": end_to_end.settings(bench), "peers": {}, "missing": {}}
    peers = found["peers"]
    bench.screen.passing(f"publishing {bench.options.events:,} events")
    bench.new_topic()
    bench.produce(bench.options.events)
    peers["ceiling"] = end_to_end.measure_ceiling(bench)
    peers["ledgerd"] = end_to_end.measure_load(bench)
    bench.stop_ledgerd()
    measure_connect(bench, found)
    peers["row locks"] = row_locks(bench)
    one_account(bench)
    peers["row locks, one account"] = row_locks(bench)
    return found


def measure_connect(bench, found):
    """With what ledgerd has just journalled."""
    try:
        for name, result in connect.measure(bench):
            if isinstance(result, Failed):
                found["missing"][name] = str(result)
            else:
                found["peers"][name] = result
    except connect.Missing as why:
        found["missing"]["Kafka Connect"] = str(why)


def one_account(bench):
    events = bench.options.events
    bench.options.events, accounts = events // ROW_LOCKS_PART, bench.options.accounts
    bench.options.accounts = 1
    bench.new_topic()
    bench.produce(bench.options.events)
    bench.options.events, bench.options.accounts = events, accounts


def row_locks(bench):
    """Over a part of the topic, into a database made anew."""
    bench.new_database()
    bench.screen.passing("row locks: reading the topic")
    child = bench.spawn("bench/bench-row-locks", THREADS, bench.options.events // ROW_LOCKS_PART,
                        changes={"LEDGERD_MYSQL_SOCKET": str(bench.stack.mysql.socket)},
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if child.stdout.readline() != "prepared\n":
        raise Failed("bench-row-locks failed: see above")
    bench.screen.passing("row locks: one transaction an event")
    usage = machine.Usage({"mysql": bench.stack.mysql.pid}, [child.pid])
    text = child.communicate("go\n")[0]
    usage.end()
    if child.returncode != 0:
        raise Failed("bench-row-locks failed: see above")
    figures = json.loads(text)
    rows = int(bench.stack.mysql.sql("SELECT COUNT(*) FROM balance_transactions", DATABASE))
    if rows + figures["duplicates"] != figures["events"]:
        raise Failed(f"row locks journalled {rows:,} of {figures['events']:,} events")
    return figures | usage.figures(figures["events"])
