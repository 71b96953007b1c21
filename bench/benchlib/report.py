"""The tables for people. Each function takes the figures and yields lines."""

from benchlib import machine
from screen import table


def end_to_end(found):
    ends, details = found["end_to_end"], found["details"]
    load, ceiling, latency = details["load"], details["ceiling"], details["latency"]
    yield from about(found)
    yield ""
    yield from table(("", "events/s", "of the ceiling", "events a flush"), [
        ("ceiling: the flushes alone", f"{ends['ceiling_events_per_second']:,.0f}", "1.00",
         f"{ceiling['events'] / ceiling['flushes']:,.0f}"),
        ("ledgerd: Kafka to MySQL", f"{ends['events_per_second']:,.0f}", f"{ends['ratio']:.2f}",
         f"{load['events_per_flush']:,.0f}")])
    yield ""
    yield from table(("latency", "P50 ms", "P95 ms", "P99 ms", "max ms"), [
        (f"at {latency['rate']:,.0f} events/s",
         *(f"{found['latency_ms'][name]:.1f}" for name in ("p50", "p95", "p99")),
         f"{latency['max_ms']:.1f}")])
    parts = ", ".join(f"{part:.1%} in {float(bound) * 1000:.0f} ms"
                      for bound, part in latency["by_ledgerd"].items())
    yield f"  by ledgerd's own histogram: {parts}"
    yield ""
    yield from ledgerd(found["ledgerd"], load)
    yield ""
    yield from cpu(details)
    yield from warnings(found)


def about(found):
    settings, on = found["settings"], found["machine"]
    versions, mysql = settings["versions"], settings["mysql"]
    yield (f"{on['cores']} cores ({on['cpu']}), {on['memory_bytes'] / 2**30:.0f} GiB, Linux "
           f"{on['kernel']}; others used {on['busy_before']:.0%} of the cores before the start")
    yield (f"ledgerd {versions['ledgerd']} ({settings['build']}), MySQL {versions['mysql']}, Kafka "
           f"{versions['kafka']}, Redis {versions['redis']}, all on this machine")
    yield ", ".join(f"{name.removeprefix('innodb_')}={size(value)}"
                    for name, value in sorted(mysql.items()))
    if "events" in settings:
        yield (f"{settings['events']:,} events, {settings['accounts']:,} accounts "
               f"{'Zipf ' + str(settings['zipf']) if settings['zipf'] else 'uniform'}, "
               f"{settings['partitions']} partitions, {settings['ids']} ids, "
               f"{settings['decimals']} decimals, Redis {'on' if settings['redis'] else 'off'}, "
               f"batches of {settings['batch_max_events']:,}")


def size(text):
    """A number of bytes as people write it."""
    for power, unit in ((30, "G"), (20, "M")):
        if text.isdigit() and int(text) >= 1 << power and int(text) % (1 << power) == 0:
            return f"{int(text) >> power}{unit}"
    return text


def ledgerd(own, load):
    yield (f"ledgerd: {own['cpu_ns_per_event']:,.0f} ns of CPU an event, start and Redis included, "
           f"{load['kernel_ns_per_event']:,.0f} of them in the kernel; "
           f"{own['rss_max_bytes'] / 2**20:,.0f} MiB of memory at most")
    threads = sorted(load["thread_ns_per_event"].items(), key=lambda item: -item[1])
    yield "  between the first commit and the last, by thread: " + ", ".join(
        f"{name} {ns:,.0f}" for name, ns in threads if ns >= 1)
    steps = ", ".join(f"{name} {ms:.1f}" for name, ms in load["flush_ms"].items() if ms >= 0.05)
    yield f"  a flush, ms: {steps}"


def cpu(runs):
    """Who used the cores: that hardly depends on what else the machine does."""
    names = ("mysql", "redis", "kafka", "ledgerd", "bench")
    rows = [(label, *(f"{run['cpu_us_per_event'].get(name, 0):.2f}" for name in names),
             f"{run['others_part']:.0%}") for label, run in runs.items()]
    yield from table(("CPU, us an event", *names, "others, of all cores"), rows)


def warnings(found):
    for name, run in found["details"].items():
        if run["others_part"] > machine.BUSY_PART:
            yield (f"warning: others used {run['others_part']:.0%} of the cores during '{name}': "
                   "do not compare rates and latencies")


def memory(found):
    own = found["memory"]
    yield from about(found)
    yield ""
    yield from table(("", "balances", "bytes each", "peak MiB", "events/s"), [
        (label, f"{run['balances']:,.0f}", f"{run['bytes_per_balance']:.1f}",
         f"{run['rss_max_bytes'] / 2**20:,.0f}", f"{run['events_per_second']:,.0f}")
        for label, run in (("made", own["made"]), ("loaded", own["loaded"]))])


def replay(found):
    own = found["replay"]
    yield from about(found)
    yield ""
    yield f"replay --apply: {own['events']:,} events, {own['events_per_second']:,.0f} events/s"
