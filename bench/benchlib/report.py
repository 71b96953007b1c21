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


def replay_rates(found):
    """(what was done, events a second, part of consuming the same log)."""
    own = found["replay"]
    consumed = own["end_to_end_events_per_second"]
    return [(label, own[name], own[name] / consumed) for label, name in (
        ("consumed by `ledgerd run`", "end_to_end_events_per_second"),
        ("replay --apply, one partition after the other", "events_per_second"),
        ("replay --apply, all partitions at once", "at_once_events_per_second"))]


def replay(found):
    yield from about(found)
    yield ""
    yield from table((f"{found['replay']['events']:,} events", "events/s", "of consuming them"), [
        (label, f"{rate:,.0f}", f"{part:.2f}") for label, rate, part in replay_rates(found)])


def latency(found):
    own = found["latency_curve"]
    yield from about(found)
    yield ""
    yield f"the rate: {own['events_per_second']:,.0f} events/s"
    yield from table(("of the rate", "events/s", "P50 ms", "P95 ms", "P99 ms", "max ms"), [
        (f"{point['part']:.2f}", f"{point['rate']:,.0f}",
         *(f"{point[name]:.1f}" for name in ("p50", "p95", "p99", "max_ms")))
        for point in own["points"]])


def handover(found):
    own = found["handover"]
    yield from about(found)
    yield ""
    yield f"{own['rate']:,.0f} events/s on two instances, of which one ends"
    yield from table(("", "its partitions", "longest gap ms", "gap of the others ms", "end took ms"),
                     [(name, own[name]["owned"], f"{own[name]['gap_ms']:,.0f}",
                       f"{own[name]['others_gap_ms']:,.0f}", f"{own[name]['end_took_ms']:,.0f}")
                      for name in ("stop", "kill")])


def growth(found):
    own = found["growth"]
    yield from about(found)
    yield ""
    yield f"a buffer pool of {own['pool_bytes'] / 2**20:,.0f} MiB"
    yield from table(("ids", "journal rows", "journal MiB", "events/s", "of the first", "MariaDB us"),
                     [(ids, f"{point['rows']:,}", f"{point['journal_bytes'] / 2**20:,.0f}",
                       f"{point['events_per_second']:,.0f}",
                       f"{point['events_per_second'] / points[0]['events_per_second']:.2f}",
                       f"{point['cpu_us_per_event']['mysql']:.1f}")
                      for ids, points in own["runs"].items() for point in points])


def accounts(found):
    yield from about(found)
    yield ""
    yield from table(("accounts", "events/s", "start to first commit s", "peak MiB"), [
        (f"{one['accounts']:,}", f"{one['events_per_second']:,.0f}",
         f"{one['first_commit_seconds']:.2f}", f"{one['rss_max_bytes'] / 2**20:,.0f}")
        for one in found["accounts"]])


def hot(found):
    yield from about(found)
    yield ""
    yield from table(("", "events/s", "ceiling", "of the ceiling"), [
        (name, f"{one['events_per_second']:,.0f}", f"{one['ceiling_events_per_second']:,.0f}",
         f"{one['ratio']:.2f}") for name, one in found["hot"].items()])


def partitions(found):
    yield from about(found)
    yield ""
    yield from table(
        ("partitions", "instances", "events/s", "threads", "connections", "peak MiB", "CPU ns"), [
            (one["partitions"], one["instances"], f"{one['events_per_second']:,.0f}",
             one["threads"], one["connections"], f"{one['rss_max_bytes'] / 2**20:,.0f}",
             f"{one['cpu_ns_per_event']:,.0f}") for one in found["partitions"]])


def peers(found):
    own = found["peers"]
    best = own["ledgerd"]["events_per_second"]
    yield from about(found)
    yield ""
    yield from table(("", "events/s", "ledgerd is", "MariaDB us", "itself us"), [
        (name, f"{one['events_per_second']:,.0f}", f"{best / one['events_per_second']:.1f}",
         f"{one['cpu_us_per_event'].get('mysql', 0):.1f}", f"{itself(one):.1f}")
        for name, one in own.items()])
    for name in own:
        if NOT_DONE[name]:
            yield f"  {name}: {NOT_DONE[name]}"
    for name, why in found["missing"].items():
        yield f"  {name}: not measured: {why}"


def itself(run):
    """CPU of what is compared, beside the servers."""
    used = run["cpu_us_per_event"]
    return used.get("ledgerd", used.get("java", used.get("bench", 0.0)))


NOT_DONE = {
    "ceiling": "reads no log, loads no balance, fills no Redis",
    "ledgerd": "",
    "row locks": "the offset is committed apart from the rows; no order within an account, no dead "
                 "letters, leases or Redis",
    "row locks, one account": "the same",
    "connect journal insert": "no rules, no balances; after a kill it stops at the first duplicate",
    "connect journal upsert": "no rules, no balances; overwrites where an id comes again",
    "connect balances upsert": "no rules, no journal",
    "connect both": "no rules: the rows were made by ledgerd; journal and balances in different "
                    "transactions, the offset in neither; insert and upsert as above",
}


def variants(found):
    own = found["variants"]
    base = own["base"]["events_per_second"] if "base" in own else 0
    yield from about(found)
    yield ""
    yield from table(("variant", "events/s", "of the base", "MariaDB us"), [
        (name, f"{one['events_per_second']:,.0f}",
         f"{one['events_per_second'] / base:.2f}" if base else "",
         f"{one['cpu_us_per_event'].get('mysql', 0):.1f}") for name, one in own.items()])
    for name, why in found["failed"].items():
        yield f"  {name}: {why}"
