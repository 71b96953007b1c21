"""Many partitions on one instance and on three: rate, threads, connections, memory.

A full topic is consumed from its begin; the rate is that of its middle, when the instances have
shared the partitions among themselves. Everything is seen from outside: /proc, and the server's
own counts.
"""

import os
from pathlib import Path

from benchlib import end_to_end, machine
from benchlib.watch import Watch

NUMBERS = ((4, 1), (4, 3), (64, 1), (64, 3), (512, 1), (512, 3))
NUMBERS_QUICK = ((4, 1), (16, 3))
MIDDLE = (0.3, 0.9)  # of the events
WATCH_US = 10000
CONNECTIONS_MAX = 5000


def measure(bench):
    bench.stack.settings.mysql_options["max-connections"] = CONNECTIONS_MAX
    bench.start_stack()
    found = {"settings": end_to_end.settings(bench), "partitions": []}
    for partitions, instances in NUMBERS_QUICK if bench.options.quick else NUMBERS:
        bench.options.partitions = partitions
        found["partitions"].append({"partitions": partitions, "instances": instances}
                                   | measure_one(bench, instances))
    return found


def measure_one(bench, count):
    bench.screen.passing(f"{bench.options.partitions} partitions: publishing "
                         f"{bench.options.events:,} events")
    bench.new_topic()
    bench.produce(bench.options.events)
    bench.new_database()
    bench.empty_redis()
    watch = Watch(bench, WATCH_US, bench.options.events)
    instances = [bench.start_ledgerd(number + 1) for number in range(count)]
    watch.wait_seen(bench.options.events // 2)
    figures = {"threads": sum(threads(one.pid) for one in instances),
               "connections": connections(bench)}
    watch.wait_all("consuming")
    figures |= {
        "events_per_second": watch.rate_between(*MIDDLE),
        "rss_max_bytes": sum(machine.memory_peak_bytes(one.pid) for one in instances),
        "cpu_ns_per_event": sum(machine.cpu_seconds(one.pid) for one in instances)
        / bench.options.events * 1e9,
    }
    for one in instances:
        one.stop()
    return figures


def threads(pid):
    return len(os.listdir(Path(f"/proc/{pid}/task")))


def connections(bench):
    """Those of ledgerd, bench-watch's own left out."""
    return int(bench.stack.mysql.sql(
        "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'ledger'")) - 1
