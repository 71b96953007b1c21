"""As many balances in memory as there are accounts: made by ledgerd, and loaded after a restart.

Every account gets one event in each round, so that after a round ledgerd has all of them in memory
(or what fits): in the first round they are new, in the second they come from the database.
"""

import subprocess
import threading

from benchlib import end_to_end, machine
from benchlib.errors import Failed
from benchlib.ledgerd import NO_CONFIG, total
from benchlib.watch import Watch

WATCH_US = 20000


def measure(bench):
    bench.start_stack()
    found = {"settings": end_to_end.settings(bench) | {"memory_max": bench.options.memory}}
    bench.new_topic()
    bench.new_database()
    bench.empty_redis()
    found["memory"] = {"made": one_round(bench, 1), "loaded": one_round(bench, 2)}
    return found


def one_round(bench, number):
    accounts = bench.options.accounts
    bench.screen.passing(f"round {number}: publishing an event for each account")
    publish(bench, number)
    bench.start_ledgerd()
    watch = Watch(bench, WATCH_US, accounts * number)
    watch.wait_all(f"round {number}")
    bench.ledgerd.wait_counted(accounts)
    metrics = bench.ledgerd.metrics()
    balances = total(metrics, "ledger_balances")
    run = {
        "balances": balances,
        "bytes_per_balance": total(metrics, "ledger_balances_bytes") / balances,
        "memory_bytes": total(metrics, "ledger_memory_bytes"),
        "rss_max_bytes": machine.memory_peak_bytes(bench.ledgerd.pid),
        "events_per_second": watch.rate(accounts * (number - 1))[0],
        "cpu_ns_per_event": machine.cpu_seconds(bench.ledgerd.pid) / accounts * 1e9,
    }
    bench.stop_ledgerd()
    return run


def publish(bench, number):
    with open(bench.dir / "produce.log", "wb") as log:
        child = bench.spawn("consumer/ledgerd", "produce", *NO_CONFIG, stdin=subprocess.PIPE,
                            stdout=log, stderr=log, text=False)
    writer = threading.Thread(target=write, args=(child.stdin, bench.options.accounts, number))
    writer.start()
    if child.wait() != 0:
        raise Failed(f"publishing failed: see {bench.dir / 'produce.log'}")
    writer.join()


def write(out, accounts, number):
    """Ids are in the order in which they are published."""
    line = ('{"transaction_id":"%d-%09d","account_id":%d,"currency":"USDT","type":"DEPOSIT",'
            '"amount":"%d.25"}\n')
    with out:
        for begin in range(1, accounts + 1, 10000):
            end = min(accounts + 1, begin + 10000)
            out.write("".join(line % (number, one, one, one % 100000)
                              for one in range(begin, end)).encode())
