"""The rate against the number of accounts, and how long a start with so many balances takes.

Each number of accounts gets a database of its own. Every account gets one event, so that its
balance is in the database; then ledgerd starts anew on a full topic of events over all of them.
"""

import time

from benchlib import end_to_end, machine, memory
from benchlib.watch import Watch

NUMBERS = (10_000, 100_000, 1_000_000, 10_000_000)
NUMBERS_QUICK = (1_000, 10_000)
WATCH_US = 5000


def measure(bench):
    bench.start_stack()
    found = {"settings": end_to_end.settings(bench), "accounts": []}
    for number in NUMBERS_QUICK if bench.options.quick else NUMBERS:
        bench.options.accounts = number
        found["accounts"].append({"accounts": number} | measure_one(bench, number))
    return found


def measure_one(bench, accounts):
    bench.new_topic()
    bench.new_database()
    bench.empty_redis()
    bench.screen.passing(f"{accounts:,} accounts: an event for each")
    memory.publish(bench, 1)
    watch = Watch(bench, WATCH_US, accounts)
    bench.start_ledgerd()
    watch.wait_all(f"{accounts:,} accounts")
    bench.stop_ledgerd()
    bench.screen.passing(f"{accounts:,} accounts: publishing {bench.options.events:,} events")
    bench.produce(bench.options.events)
    return restart(bench, accounts)


def restart(bench, before):
    """ledgerd begins with all balances in the database and none in memory."""
    watch = Watch(bench, WATCH_US, before + bench.options.events)
    watch.wait_seen(before)
    began_us = time.time_ns() // 1000
    bench.start_ledgerd()
    watch.wait_first(before)
    first_us = next(us for us, _, _ in watch.changes if us > began_us)
    usage = machine.Usage(bench.server_pids() | {"ledgerd": bench.ledgerd.pid}, [watch.child.pid])
    watch.wait_all("consuming")
    usage.end()
    rate, seconds = watch.rate(before)
    per_flush = end_to_end.events_per_flush(bench, bench.options.events)
    peak = machine.memory_peak_bytes(bench.ledgerd.pid)
    bench.stop_ledgerd()
    return {"events_per_second": rate, "seconds": seconds, "rss_max_bytes": peak,
            "events_per_flush": per_flush,
            "first_commit_seconds": (first_us - began_us) / 1e6} | usage.figures(rate * seconds)
