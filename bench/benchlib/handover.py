"""What a reader sees while a partition changes hands: the longest time without a commit.

Two instances share the partitions, and events are published at a part of the rate. Then the first
one is stopped, started again, killed, and started again. Nobody tells the second one anything.
"""

import time

from benchlib import end_to_end
from benchlib.bench import DATABASE
from benchlib.ledgerd import NO_CONFIG
from benchlib.watch import Watch, longest_gap_ms

WATCH_US = 1000
SETTLE_S = 15         # until leases are shared and what waited is consumed; after each return
SETTLE_QUICK_S = 8
LOOK_MAX_S = 90       # many times a lease's life of 10 s
LOOK_ON_S = 3         # after the first commits of the other owner
FOR_EVER = 1 << 62
RATE_QUICK = 5000
SHARED_S = 40         # a new instance gets its share by then


def measure(bench):
    bench.start_stack()
    found = {"settings": end_to_end.settings(bench)}
    rate = full_rate(bench) * bench.options.load
    bench.new_topic()
    bench.new_database()
    bench.empty_redis()
    found["handover"] = {"rate": rate} | run(bench, rate)
    return found


def full_rate(bench):
    if bench.options.quick:
        return RATE_QUICK / bench.options.load
    bench.screen.passing(f"publishing {bench.options.events:,} events")
    bench.new_topic()
    bench.produce(bench.options.events)
    rate = end_to_end.measure_load(bench)["events_per_second"]
    bench.stop_ledgerd()
    return rate


def run(bench, rate):
    first, second = bench.start_ledgerd(1), bench.start_ledgerd(2)
    first.wait_ready()
    second.wait_ready()
    wait_shared(bench, first)
    end_to_end.warm_up(bench, rate)
    watch = Watch(bench, WATCH_US, FOR_EVER)
    with open(bench.dir / "produce.log", "wb") as log:
        bench.spawn("consumer/ledgerd", "produce", "--generate", round(rate * 600), "--rate", rate,
                    "--accounts", bench.options.accounts, *NO_CONFIG, stdout=log, stderr=log)
    found = {}
    for how in ("stop", "kill"):
        settle(bench)
        found[how] = end_one(bench, watch, first, how)
        first = bench.start_ledgerd(1)
        first.wait_ready()
        wait_shared(bench, first)
    bench.ledgerd = second
    return found


def settle(bench):
    bench.screen.passing("waiting for an even flow")
    time.sleep(SETTLE_QUICK_S if bench.options.quick else SETTLE_S)


def end_one(bench, watch, first, how):
    """Stops or kills the first instance, and looks at what follows."""
    bench.screen.passing(f"{how}: the first of two instances")
    owned = owned_by(bench, first)
    begin_us = time.time_ns() // 1000
    getattr(first, how)()
    ended_us = time.time_ns() // 1000
    wait_taken_over(watch, owned, ended_us)
    gaps = {partition: longest_gap_ms(watch.changes, partition, begin_us, time.time_ns() // 1000)
            for partition in range(bench.options.partitions)}
    others = [gap for partition, gap in gaps.items() if partition not in owned]
    return {
        "owned": len(owned),
        "end_took_ms": (ended_us - begin_us) / 1000,
        "gap_ms": max((gaps[partition] for partition in owned), default=0.0),
        "others_gap_ms": max(others, default=0.0),
    }


def wait_taken_over(watch, owned, since_us):
    """Until each of the partitions has commits again, or the time is over: what is open counts."""
    deadline = time.monotonic() + LOOK_MAX_S
    while time.monotonic() < deadline:
        moved = {partition for us, partition, _ in list(watch.changes) if us > since_us}
        if owned <= moved:
            break
        time.sleep(0.1)
    time.sleep(LOOK_ON_S)


def owned_by(bench, instance):
    rows = bench.stack.mysql.sql(
        f"SELECT id FROM leader_locks WHERE consumer_id = '{instance.id}' "
        "AND expires_at > UTC_TIMESTAMP(6)", DATABASE)
    return set(map(int, rows.split()))


def wait_shared(bench, instance):
    """Until the instance has its fair share."""
    deadline = time.monotonic() + SHARED_S
    while len(owned_by(bench, instance)) != bench.options.partitions // 2:
        bench.screen.passing("waiting until the partitions are shared")
        if time.monotonic() > deadline:
            return  # the table tells how many it had
        time.sleep(0.2)
