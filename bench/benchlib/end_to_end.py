"""From Kafka to MySQL: throughput beside its ceiling, latency, ledgerd's own CPU and memory.

The order: a topic is filled; the ceiling is measured (see ceiling.c); then ledgerd consumes the
same topic into a new database; and then, still running, what is produced at a part of that rate.
"""

import json
import subprocess

from benchlib import machine
from benchlib.bench import DATABASE
from benchlib.errors import Failed
from benchlib.ledgerd import total
from benchlib.watch import Watch, latencies_ms, message_times, percentiles

WATCH_FAST_US = 2000   # for latency; each look costs MariaDB some 100 us
WATCH_SLOW_US = 10000  # for the rate
WARM_UP_S = 40         # Kafka's JVM compiles what small batches need, with most of a core
WARM_UP_MS = 1000      # of the latency run, left out: the producer connects


def measure(bench):
    """All figures, as --json has them."""
    options = bench.options
    bench.start_stack()
    found = {"settings": settings(bench)}
    bench.screen.passing(f"publishing {options.events:,} events")
    bench.new_topic()
    bench.produce(options.events)
    ceiling = measure_ceiling(bench)
    load = measure_load(bench)
    found["end_to_end"] = {
        "events_per_second": load["events_per_second"],
        "ceiling_events_per_second": ceiling["events_per_second"],
        "ratio": load["events_per_second"] / ceiling["events_per_second"],
    }
    found["ledgerd"] = {"cpu_ns_per_event": load["cpu_ns_per_event"],
                        "rss_max_bytes": load["rss_max_bytes"]}
    latency_rate = load["events_per_second"] * options.load
    warm_up(bench, latency_rate)
    latency = measure_latency(bench, latency_rate)
    found["latency_ms"] = latency.pop("percentiles")
    bench.stop_ledgerd()
    found["details"] = {"ceiling": ceiling, "load": load, "latency": latency}
    return found


def settings(bench):
    options = bench.options
    return {
        "events": options.events, "accounts": options.accounts, "zipf": options.zipf,
        "partitions": options.partitions, "decimals": options.decimals,
        "ids": "random" if options.random_ids else "time-ordered", "redis": options.redis,
        "batch_max_events": options.batch, "quick": options.quick, "build": bench.build_type(),
        "versions": bench.versions(), "mysql": bench.server_variables(),
    }


# The ceiling.

def measure_ceiling(bench, prepare=lambda: None):
    """`prepare` changes the tables that were just made."""
    bench.screen.passing("ceiling: a new database")
    bench.new_database()
    prepare()
    rows = ", ".join(f"({partition}, 1, 0)" for partition in range(bench.options.partitions))
    bench.stack.mysql.sql("INSERT INTO partition_offsets (kafka_partition, epoch, next_offset) "
                          f"VALUES {rows}", DATABASE)
    bench.screen.passing("ceiling: preparing the flushes")
    child = bench.spawn("bench/bench-ceiling", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if child.stdout.readline() != "prepared\n":
        raise Failed("bench-ceiling failed: see above")
    others = [name for name in ("kafka", "redis") if name in bench.stack.services]
    bench.stack.pause(*others)
    try:
        bench.screen.passing("ceiling: sending the flushes")
        usage = machine.Usage({"mysql": bench.stack.mysql.pid}, [child.pid])
        text = child.communicate("go\n")[0]
        usage.end()
    finally:
        bench.stack.resume(*others)
    if child.returncode != 0:
        raise Failed("bench-ceiling failed: see above")
    bench.stack.start(*others)  # waits until they answer
    found = json.loads(text)
    return found | usage.figures(found["events"])


# ledgerd at full load.

def measure_load(bench):
    bench.screen.passing("a new database")
    bench.new_database()
    bench.empty_redis()
    bench.start_ledgerd()
    pid = bench.ledgerd.pid
    watch = Watch(bench, WATCH_SLOW_US, bench.options.events)
    watch.wait_first()
    threads = machine.thread_seconds(pid)
    usage = machine.Usage(bench.server_pids() | {"ledgerd": pid}, [watch.child.pid])
    watch.wait_all("consuming")
    usage.end()
    threads = {name: seconds - threads[name]
               for name, seconds in machine.thread_seconds(pid).items()}
    rate, seconds = watch.rate()
    bench.ledgerd.wait_counted(bench.options.events)
    if bench.options.redis:
        bench.ledgerd.wait_published()
    metrics = bench.ledgerd.metrics()
    flushes = total(metrics, "ledger_flush_events_count")
    return {
        "events_per_second": rate, "seconds": seconds,
        "cpu_ns_per_event": machine.cpu_seconds(pid) / bench.options.events * 1e9,
        "kernel_ns_per_event": machine.cpu_times(pid)[1] / bench.options.events * 1e9,
        "rss_max_bytes": machine.memory_peak_bytes(pid),
        "thread_ns_per_event": {name: used / bench.options.events * 1e9
                                for name, used in sorted(threads.items()) if used > 0},
        "flushes": flushes, "events_per_flush": bench.options.events / flushes,
        "flush_ms": flush_steps_ms(metrics),
        "published": total(metrics, "ledger_redis_publish_total"),
    } | usage.figures(rate * seconds)


def events_per_flush(bench, events):
    """Of the ledgerd that runs, which has consumed so many."""
    bench.ledgerd.wait_counted(events)
    return events / total(bench.ledgerd.metrics(), "ledger_flush_events_count")


def flush_steps_ms(metrics, before=None):
    """The mean of each step of a flush, and of all of it."""
    steps = {}
    for sample in metrics:
        if not sample.startswith("ledger_flush_duration_seconds_count"):
            continue
        name = sample.partition('stage="')[2].partition('"')[0]
        steps[name] = mean_ms(metrics, before or {}, f'stage="{name}"')
    return {name: value for name, value in steps.items() if value}


def mean_ms(metrics, before, label):
    def grown(suffix):
        name = f"ledger_flush_duration_seconds_{suffix}"
        return total(metrics, name, label) - total(before, name, label)

    return grown("sum") / grown("count") * 1000 if grown("count") else 0.0


# Latency, ledgerd running on.

def warm_up(bench, rate):
    """Not in a short run, whose figures are none."""
    if bench.options.quick:
        return
    events = round(rate * WARM_UP_S)
    watch = Watch(bench, WATCH_SLOW_US, sum(offsets(bench).values()) + events)
    bench.screen.passing(f"warming up at {rate:,.0f} events/s")
    bench.produce(events, "--rate", rate, "--seed", 3)
    watch.wait_all("warming up")


def measure_latency(bench, rate):
    """At this rate, by a broker that is warm."""
    events = max(1, round(rate * bench.options.seconds))
    begin = {partition: 0 for partition in range(bench.options.partitions)}
    begin |= offsets(bench)
    before = bench.ledgerd.metrics()
    watch = Watch(bench, WATCH_FAST_US, sum(begin.values()) + events)
    usage = machine.Usage(bench.server_pids() | {"ledgerd": bench.ledgerd.pid}, [watch.child.pid])
    bench.screen.passing(f"latency at {rate:,.0f} events/s")
    bench.produce(events, "--rate", rate, "--seed", 2)
    watch.wait_all("latency")
    usage.end()
    metrics = bench.ledgerd.metrics()
    commit_ms = mean_ms(metrics, before, 'stage="commit"')
    found = latencies_ms(message_times(bench, begin), watch.changes)
    warm = [value for time_ms, value in found if time_ms >= found[0][0] + WARM_UP_MS]
    values = [value + commit_ms for value in warm or [value for _, value in found]]
    p50, p95, p99 = percentiles(values, (0.5, 0.95, 0.99))
    return {
        "percentiles": {"p50": p50, "p95": p95, "p99": p99},
        "events": len(values), "rate": rate, "max_ms": max(values),
        "commit_added_ms": commit_ms, "flush_ms": flush_steps_ms(metrics, before),
        "by_ledgerd": at_most_parts(metrics, before),
    } | usage.figures(events)


def offsets(bench):
    rows = bench.stack.mysql.sql("SELECT kafka_partition, next_offset FROM partition_offsets",
                                 DATABASE)
    return {int(partition): int(offset) for partition, offset in
            (row.split("\t") for row in rows.splitlines())}


def at_most_parts(metrics, before):
    """By ledgerd's own histogram: the part of the events that took at most so many seconds."""
    name = "ledger_event_latency_seconds"
    events = total(metrics, f"{name}_count") - total(before, f"{name}_count")
    parts = {}
    for bound in ("0.01", "0.02", "0.05", "0.1"):
        label = f'le="{bound}"'
        grown = total(metrics, f"{name}_bucket", label) - total(before, f"{name}_bucket", label)
        parts[bound] = grown / events if events else 0.0
    return parts
