"""All events on one account, beside uniform ones.

One account is in one partition, so there are uniform events in one partition, too. Each beside its
ceiling.
"""

from benchlib import end_to_end


def measure(bench):
    options = bench.options
    bench.start_stack()
    found = {"settings": end_to_end.settings(bench), "hot": {}}
    wide = options.partitions, options.accounts
    for name, (partitions, accounts) in (
            ("uniform", wide), ("uniform, one partition", (1, wide[1])), ("one account", (1, 1))):
        options.partitions, options.accounts = partitions, accounts
        found["hot"][name] = measure_one(bench)
    options.partitions, options.accounts = wide
    return found


def measure_one(bench):
    bench.screen.passing(f"publishing {bench.options.events:,} events")
    bench.new_topic()
    bench.produce(bench.options.events)
    ceiling = end_to_end.measure_ceiling(bench)
    load = end_to_end.measure_load(bench)
    bench.stop_ledgerd()
    return {
        "events_per_second": load["events_per_second"],
        "ceiling_events_per_second": ceiling["events_per_second"],
        "ratio": load["events_per_second"] / ceiling["events_per_second"],
        "events_per_flush": load["events_per_flush"],
        "cpu_us_per_event": load["cpu_us_per_event"], "flush_ms": load["flush_ms"],
        "others_part": load["others_part"],
    }
