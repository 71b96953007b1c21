"""The rate against the size of the journal, with a buffer pool of a tenth of the largest one.

The journal grows by rows of partitions that the topic does not have, written by the server itself:
valid rows, with ids that are ordered by time or random ones, as old as the journal is long. Each
size is then measured with events of the topic, whose rows come behind those of their partitions
and whose ids behind all that are ordered by time, as in a journal that ledgerd filled alone.
"""

import time

from benchlib import end_to_end, machine
from benchlib.bench import DATABASE
from benchlib.watch import Watch

FILL_PARTITION = 100000  # of the rows that make the journal long
FILL_ROWS = 1_000_000    # in a statement
PARTS = (0.01, 0.03, 0.1, 0.3, 1.0)
PARTS_QUICK = (0.1, 1.0)
ROW_BYTES = 250          # of disk, with the index of the ids
ROWS_PER_MS = 100        # of the ids' time
WATCH_US = 10000
INDEX = "transaction_account"

FILL = """
SET unique_checks = 1, time_zone = '+00:00';
INSERT INTO balance_transactions (kafka_partition, kafka_offset, transaction_id, account_id,
    currency_code, type, amount, available_after, frozen_after, status, event_time, prev_offset)
SELECT {partition}, seq, {id}, 1 + (seq * 7919) % {accounts}, 'USDT', 'DEPOSIT', 10.25,
    100 + seq % 1000000, 0, 'SUCCESS', FROM_UNIXTIME({base_ms} / 1000 + seq / {per_second}), NULL
FROM seq_{begin}_to_{end}
"""
HASH = "MD5(CONCAT('x', seq))"
TIME = "LPAD(HEX({base_ms} + seq DIV {per_ms}), 12, '0')"
ORDERED_ID = ("LOWER(CONCAT(SUBSTR({time}, 1, 8), '-', SUBSTR({time}, 9, 4), '-7', "
              "LPAD(HEX(seq % {per_ms}), 3, '0'), '-8', SUBSTR({hash}, 1, 3), '-', "
              "SUBSTR({hash}, 4, 12)))")
RANDOM_ID = ("CONCAT(SUBSTR({hash}, 1, 8), '-', SUBSTR({hash}, 9, 4), '-4', SUBSTR({hash}, 13, 3), "
             "'-8', SUBSTR({hash}, 16, 3), '-', SUBSTR({hash}, 19, 12))")


def measure(bench):
    options = bench.options
    bench.start_stack()
    found = {"settings": end_to_end.settings(bench) | {"rows": options.rows}}
    found["growth"] = {"pool_bytes": pool_bytes(bench), "runs": {}}
    for ids in ("time-ordered", "random"):
        options.random_ids = ids == "random"
        bench.new_topic()
        bench.new_database()
        bench.empty_redis()
        found["growth"]["runs"][ids] = grow(bench)
    return found


def pool_bytes(bench):
    return int(bench.stack.mysql.sql("SELECT @@innodb_buffer_pool_size"))


def grow(bench):
    """The rate at each size, one after the other; [{rows, events_per_second, ...}]"""
    points, rows, sent = [], 0, 0
    base_ms = int(time.time() * 1000) - bench.options.rows // ROWS_PER_MS - 3_600_000
    for number, part in enumerate(PARTS_QUICK if bench.options.quick else PARTS):
        target = max(1, round(bench.options.rows * part))
        fill(bench, rows, max(rows, target - sent), base_ms)
        rows = max(rows, target - sent)
        points.append({"rows": rows + sent} | consume(bench, number, sent))
        sent += bench.options.events
    return points


def fill(bench, begin, end, base_ms):
    """Rows begin to end of the journal. Random ids come with their index made anew, as full as one
    that grew by itself: row by row it would take hours."""
    anew = bench.options.random_ids and begin < end
    if anew:
        alter(bench, f"DROP INDEX {INDEX}")
    for first in range(begin, end, FILL_ROWS):
        bench.screen.passing(f"a journal of {end:,} rows: {first:,}")
        bench.stack.mysql.sql(fill_text(first, min(end, first + FILL_ROWS), base_ms, bench.options),
                              DATABASE)
    if anew:
        bench.screen.passing(f"a journal of {end:,} rows: the index")
        bench.stack.mysql.sql("SET GLOBAL innodb_fill_factor = 70")
        alter(bench, f"ADD UNIQUE INDEX {INDEX} (transaction_id, account_id)")


def alter(bench, change):
    bench.stack.mysql.sql(f"ALTER TABLE balance_transactions {change}", DATABASE)


def fill_text(begin, end, base_ms, options):
    """The statement that writes rows begin to end - 1."""
    values = {"base_ms": base_ms, "per_ms": ROWS_PER_MS, "per_second": ROWS_PER_MS * 1000}
    form = RANDOM_ID if options.random_ids else ORDERED_ID
    row_id = form.format(hash=HASH, time=TIME.format(**values), **values)
    return FILL.format(id=row_id, begin=begin, end=end - 1, accounts=options.accounts,
                       partition=FILL_PARTITION, **values)


def consume(bench, number, sent):
    """Events of the topic, one more seed of them."""
    events = bench.options.events
    bench.screen.passing(f"publishing {events:,} events")
    bench.produce(events, "--seed", 100 + number)
    wait_clean(bench)
    watch = Watch(bench, WATCH_US, sent + events)
    bench.start_ledgerd()
    watch.wait_first(sent)
    usage = machine.Usage(bench.server_pids() | {"ledgerd": bench.ledgerd.pid}, [watch.child.pid])
    watch.wait_all("consuming")
    usage.end()
    rate, seconds = watch.rate(sent)
    per_flush = end_to_end.events_per_flush(bench, events)
    bench.stop_ledgerd()
    return {"events_per_second": rate, "seconds": seconds, "events_per_flush": per_flush,
            "journal_bytes": journal_bytes(bench)} | usage.figures(rate * seconds)


def wait_clean(bench, timeout_s=120):
    """The pages of the rows that made the journal long are written: nobody pays for them."""
    deadline = time.monotonic() + timeout_s
    bench.stack.mysql.sql("SET GLOBAL innodb_max_dirty_pages_pct = 0, "
                          "innodb_max_dirty_pages_pct_lwm = 0")
    while time.monotonic() < deadline:
        bench.screen.passing("waiting until the pages are written")
        status = bench.stack.mysql.sql("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'")
        if int(status.split()[1]) < 1000:
            break
        time.sleep(0.2)
    bench.stack.mysql.sql("SET GLOBAL innodb_max_dirty_pages_pct = 90")


def journal_bytes(bench):
    return int(bench.stack.mysql.sql(
        "SELECT SUM(FILE_SIZE) FROM information_schema.INNODB_SYS_TABLESPACES WHERE NAME = "
        f"'{DATABASE}/balance_transactions'"))
