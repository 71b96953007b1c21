"""Latency against load: P50, P95 and P99 at parts of the rate, up to saturation.

The rate is measured first, with a full topic; then ledgerd runs on, and each part of it is published
for some seconds. Nothing waits in between: a part that is more than ledgerd takes shows as a
latency that grows for as long as it lasts.
"""

from benchlib import end_to_end

PARTS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
PARTS_QUICK = (0.05, 0.5)


def measure(bench):
    bench.start_stack()
    found = {"settings": end_to_end.settings(bench)}
    bench.screen.passing(f"publishing {bench.options.events:,} events")
    bench.new_topic()
    bench.produce(bench.options.events)
    load = end_to_end.measure_load(bench)
    rate = load["events_per_second"]
    parts = PARTS_QUICK if bench.options.quick else PARTS
    for part in (0.5, parts[0]):  # large requests and small ones are different code to Kafka's JVM
        end_to_end.warm_up(bench, rate * part)
    found["latency_curve"] = {
        "events_per_second": rate,
        "points": [point(bench, rate, part) for part in parts],
    }
    bench.stop_ledgerd()
    found["details"] = {"load": load}
    return found


def point(bench, rate, part):
    figures = end_to_end.measure_latency(bench, rate * part)
    return {"part": part} | figures.pop("percentiles") | figures
