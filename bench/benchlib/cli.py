"""The command line of bench/run, and the tables that it prints."""

import argparse
import json
import os
import signal
import sys
from pathlib import Path

from benchlib import (accounts, end_to_end, growth, handover, hot, latency, machine, memory,
                      partitions, peers, replay, report, variants)
from benchlib.bench import DIR_DEFAULT, Bench
from benchlib.errors import Failed
from screen import Screen
from stack import StackError, size_bytes

MEASURES = {
    "end-to-end": (end_to_end.measure, report.end_to_end),
    "memory": (memory.measure, report.memory),
    "replay": (replay.measure, report.replay),
    "latency": (latency.measure, report.latency),
    "handover": (handover.measure, report.handover),
    "growth": (growth.measure, report.growth),
    "accounts": (accounts.measure, report.accounts),
    "hot": (hot.measure, report.hot),
    "partitions": (partitions.measure, report.partitions),
    "peers": (peers.measure, report.peers),
    "ceiling": (variants.measure, report.variants),
}
TOOLS = ("codec", "poll")

EPILOG = """\
end-to-end  events/s beside their ceiling, latency at half of that, CPU, memory (default)
memory      10 M balances (--accounts): made, and loaded after a restart, within --memory
replay      `ledgerd replay --apply` over --events events that were skipped
latency     P50, P95, P99 from 5 % of the rate up to saturation
handover    the longest time without a commit when an owner is stopped, and killed
growth      the rate from 1 % of --rows journal rows to all, with a pool of a tenth of them
accounts    10,000 to 10 M of them: rate, start     hot  all events on one account
partitions  4, 64 and 512, on one instance and on three
peers       one transaction an event with row locks; Kafka Connect with Debezium's JDBC sink
ceiling     the ceiling with other settings, --variant NAME (all; `list` names them)
codec       decoding and encoding alone             poll  reading a topic alone"""


def parser():
    top = argparse.ArgumentParser(
        prog="bench/run", usage="bench/run [WHAT] [OPTION...]", epilog=EPILOG, add_help=True,
        description="Measures ledgerd on real servers that it starts and stops. "
                    "docs/PERFORMANCE.md explains the figures.",
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
            prog, max_help_position=25, width=98))
    top.add_argument("what", nargs="?", default="end-to-end", metavar="WHAT",
                     choices=[*MEASURES, *TOOLS], help=argparse.SUPPRESS)
    add = top.add_argument
    add("--json", metavar="FILE", help="write all figures there, too")
    add("--quick", action="store_true", help="a short run, to see that it works; no figures")
    add("--events", type=count, metavar="N", help="in the topic (3000000; --quick 200000)")
    add("--accounts", type=count, metavar="N", help="(1000000; memory: 10000000)")
    add("--zipf", type=float, default=0.0, metavar="S", help="unevenly, with this exponent (0)")
    add("--partitions", type=count, default=4, metavar="N", help="of the topic (4)")
    add("--decimals", type=int, default=2, metavar="N", help="of the amounts, 2 to 8 (2)")
    add("--random-ids", action="store_true", help="ids that are not ordered by time")
    add("--no-redis", dest="redis", action="store_false", help="without publishing to Redis")
    add("--batch", type=count, default=20000, metavar="N",
        help="consumer.batch_max_events (20000)")
    add("--memory", default="auto", metavar="SIZE",
        help="consumer.memory_max (auto; memory: 1792M)")
    add("--rows", type=count, metavar="N", help="of the journal, for growth (100000000)")
    add("--variant", default="all", metavar="NAME", help=argparse.SUPPRESS)
    add("--load", type=float, default=0.5, metavar="R",
        help="part of the rate for latency and hand-over (0.5)")
    add("--seconds", type=float, metavar="S", help="of the latency run (20; --quick 3)")
    add("--pool", type=size, metavar="SIZE",
        help="the database's buffer pool (4G, or a quarter of the memory)")
    add("--redo", type=size, default="2G", metavar="SIZE", help="the database's redo log (2G)")
    add("--mysql-server", metavar="FOLDER",
        help="MySQL that deploy/install-mysql put there, in place of MariaDB")
    add("--binlog", action="store_true", help="with a binary log, synchronised at every commit")
    add("--dir", default=str(DIR_DEFAULT), metavar="FOLDER", help="for everything (build/bench)")
    add("--build", metavar="FOLDER", help="a build to measure (default: one of its own, release)")
    add("--cache", metavar="FOLDER", help="Kafka's jars ($STACK_CACHE, or build/stack/cache)")
    add("--keep", action="store_true", help="let the servers run on, with what is in them")
    return top


def count(text):
    number = int(text.replace("_", "").replace(",", ""))
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def size(text):
    try:
        size_bytes(text)
    except StackError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def complete(options):
    """The defaults that depend on other options."""
    quick, memory_run = options.quick, options.what == "memory"
    options.events = options.events or ((50_000 if options.what == "growth" else 200_000)
                                        if quick else 3_000_000)
    options.accounts = options.accounts or (10_000_000 if memory_run and not quick else 1_000_000)
    if memory_run:
        options.events = 2 * options.accounts
    options.rows = options.rows or (200_000 if quick else 100_000_000)
    if options.what == "growth" and not options.pool:
        options.pool = f"{max(64 << 20, options.rows * growth.ROW_BYTES // 10) >> 20}M"
    options.seconds = options.seconds or (3 if quick else 20)
    if memory_run and options.memory == "auto":
        options.memory = "1792M"
    if not options.pool:
        options.pool = f"{min(4 << 30, memory_bytes() // 4) >> 20}M"
    return options


def memory_bytes():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def main():
    options = complete(parser().parse_args())
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    screen = Screen()
    screen.name = "bench"
    try:
        with Bench(options, screen) as bench:
            screen.passing("building")
            bench.build()
            return run_tool(bench) if options.what in TOOLS else run(bench)
    except (Failed, StackError) as error:
        screen.clear()
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        screen.clear()
        return 130


def run(bench):
    measure, show = MEASURES[bench.options.what]
    about = machine.describe()
    if about["busy_before"] > machine.BUSY_PART:
        bench.screen.line(f"warning: others use {about['busy_before']:.0%} of this machine's cores"
                          " now: figures will be too low")
    found = measure(bench)
    found["machine"] = about
    bench.screen.clear()
    for line in show(found):
        bench.screen.line(line)
    if bench.options.json:
        Path(bench.options.json).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


def run_tool(bench):
    """The benchmarks in C that print their own tables."""
    arguments = []
    if bench.options.what == "poll":
        bench.start_stack()
        bench.new_topic()
        bench.screen.passing(f"publishing {bench.options.events:,} events")
        bench.produce(bench.options.events)
        arguments = [bench.stack.kafka.address, "bench"]
    bench.screen.clear()
    return bench.spawn(f"bench/bench-{bench.options.what}", *arguments).wait()
