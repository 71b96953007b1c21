"""`ledgerd replay --apply` over a log that was skipped, beside consuming the same log.

The tables are emptied, and for each partition a gap is recorded up to the end of the log, as
`ledgerd resume --at-offset` would; then each partition is replayed from 0: one after the other, as a
person would, and once more all at once. Nobody owns them.
"""

import time
from concurrent.futures import ThreadPoolExecutor

import confluent_kafka

from benchlib import end_to_end
from benchlib.bench import DATABASE, TOPIC
from benchlib.errors import Failed


def measure(bench):
    options = bench.options
    bench.start_stack()
    found = {"settings": end_to_end.settings(bench)}
    bench.screen.passing(f"publishing {options.events:,} events")
    bench.new_topic()
    bench.produce(options.events)
    load = end_to_end.measure_load(bench)
    bench.stop_ledgerd()
    seconds = replay_all(bench, 1)
    found["replay"] = {
        "events": options.events, "seconds": seconds,
        "events_per_second": options.events / seconds,
        "at_once_events_per_second": options.events / replay_all(bench, options.partitions),
        "end_to_end_events_per_second": load["events_per_second"]}
    found["details"] = {"load": load}
    return found


def replay_all(bench, at_once):
    """Seconds, with so many commands at a time."""
    skip_all(bench)
    bench.screen.passing(f"replaying {at_once} at a time")
    began = time.monotonic()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda partition: replay(bench, partition), range(bench.options.partitions)))
    seconds = time.monotonic() - began
    rows = int(bench.stack.mysql.sql("SELECT COUNT(*) FROM balance_transactions", DATABASE))
    if rows != bench.options.events:
        raise Failed(f"replay journalled {rows:,} of {bench.options.events:,} events")
    return seconds


def replay(bench, partition):
    bench.command("replay", "--partition", partition, "--from-offset", 0, "--apply")


def skip_all(bench):
    """A ledger that has consumed the log as one that has skipped all of it."""
    bench.screen.passing("emptying the database")
    tables = ("balance_transactions", "account_balances", "dead_letters", "offset_gaps")
    bench.stack.mysql.sql("".join(f"TRUNCATE {table};" for table in tables), DATABASE)
    bench.restart_mysql()
    bench.empty_redis()
    for partition, end in ends(bench).items():
        bench.stack.mysql.sql(
            f"INSERT INTO offset_gaps (kafka_partition, from_offset, to_offset, reason) VALUES "
            f"({partition}, 0, {end}, 'bench'); UPDATE partition_offsets SET next_offset = {end}, "
            f"redis_offset = {end} WHERE kafka_partition = {partition}", DATABASE)


def ends(bench):
    """The log's end of each partition."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": bench.stack.kafka.address,
                                         "group.id": "bench-ends"})
    found = {partition: consumer.get_watermark_offsets(
        confluent_kafka.TopicPartition(TOPIC, partition), 10)[1]
        for partition in range(bench.options.partitions)}
    consumer.close()
    return found
