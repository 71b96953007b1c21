"""`ledgerd replay --apply` over a log that was skipped.

The topic is filled, and the offsets are moved to its end with a gap recorded for each partition, as
`ledgerd resume --at-offset` would; then each partition is replayed from 0.
"""

import time

import confluent_kafka

from benchlib import end_to_end
from benchlib.bench import DATABASE, TOPIC
from benchlib.errors import Failed


def measure(bench):
    options = bench.options
    bench.start_stack()
    if "replay" not in bench.run_tool(bench.program("consumer/ledgerd"), "--help"):
        raise Failed("this ledgerd has no `replay`")
    bench.new_topic()
    bench.new_database()
    bench.empty_redis()
    found = {"settings": end_to_end.settings(bench)}
    prepare(bench)
    seconds = replay_all(bench)
    rows = int(bench.stack.mysql.sql("SELECT COUNT(*) FROM balance_transactions", DATABASE))
    if rows != options.events:
        raise Failed(f"replay journalled {rows:,} of {options.events:,} events")
    found["replay"] = {"events": options.events, "seconds": seconds,
                       "events_per_second": options.events / seconds}
    return found


def prepare(bench):
    """ledgerd makes what a new ledger has (rows, meta); then it has nothing to do but the gap."""
    bench.start_ledgerd()
    bench.ledgerd.wait_ready()
    bench.stop_ledgerd()
    bench.screen.passing(f"publishing {bench.options.events:,} events")
    bench.produce(bench.options.events)
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


def replay_all(bench):
    """One partition after the other, as a person would; nobody owns them."""
    began = time.monotonic()
    for partition in range(bench.options.partitions):
        bench.screen.passing(f"replaying partition {partition}")
        bench.command("replay", "--partition", partition, "--from-offset", 0, "--apply")
    return time.monotonic() - began
