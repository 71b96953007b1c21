"""What would make the ceiling higher: the same flushes with one thing changed.

The rows, and the statements that send them, are bench-ceiling's: each variant changes the server's
options, the tables, or the size of a flush. The first one, `base`, changes nothing; it is measured
again at the end (`base again`), so that what drifted meanwhile can be seen.
"""

from dataclasses import dataclass, field

from benchlib import end_to_end
from benchlib.bench import DATABASE
from benchlib.errors import Failed
from stack import StackError

JOURNAL = "ALTER TABLE balance_transactions "
BALANCES = "ALTER TABLE account_balances "


@dataclass
class Variant:
    about: str
    server: dict = field(default_factory=dict)  # options of MariaDB
    tables: tuple = ()                          # statements, once the tables are made
    batch: int = 0                              # events a flush; 0: as chosen
    safe: bool = True                           # nothing that was committed can be lost


VARIANTS = {
    "base": Variant("as it is"),
    "batch-5k": Variant("5,000 events a flush", batch=5_000),
    "batch-10k": Variant("10,000 events a flush", batch=10_000),
    "batch-50k": Variant("50,000 events a flush", batch=50_000),
    "batch-100k": Variant("100,000 events a flush", batch=100_000),
    "batch-200k": Variant("200,000 events a flush", batch=200_000),
    "row-compact": Variant("ROW_FORMAT=COMPACT", tables=(
        JOURNAL + "ROW_FORMAT=COMPACT", BALANCES + "ROW_FORMAT=COMPACT")),
    "row-compressed": Variant("journal in compressed pages of 8 KiB", tables=(
        JOURNAL + "ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8",)),
    "page-compressed": Variant("journal with page compression", tables=(
        JOURNAL + "PAGE_COMPRESSED=1",)),
    "no-unique": Variant("without the unique index: what it costs, no choice", safe=False, tables=(
        JOURNAL + "DROP INDEX transaction_account",)),
    "unique-binary": Variant("the id as VARBINARY", tables=(
        JOURNAL + "MODIFY transaction_id VARBINARY(64) NOT NULL",)),
    "decimals-dense": Variant("DECIMAL(30,8) in place of (36,18): what digits cost", safe=False,
                              tables=tuple(
        f"ALTER TABLE {table} " + ", ".join(f"MODIFY {name} DECIMAL(30,8) NOT NULL"
                                            for name in names)
        for table, names in (
            ("balance_transactions", ("amount", "available_after", "frozen_after")),
            ("account_balances", ("available", "frozen"))))),
    "hash-index": Variant("adaptive hash index on", server={"innodb-adaptive-hash-index": "ON"}),
    "no-change-buffer": Variant("change buffering off",
                                server={"innodb-change-buffering": "none"}),
    "change-buffer": Variant("change buffering of all", server={"innodb-change-buffering": "all"}),
    "bulk-insert-buffer": Variant("bulk_insert_buffer_size=64M",
                                  server={"bulk-insert-buffer-size": "64M"}),
    "log-buffer": Variant("log buffer of 128 MB", server={"innodb-log-buffer-size": "128M"}),
    "fsync": Variant("innodb_flush_method=fsync", server={"innodb-flush-method": "fsync"}),
    "no-doublewrite": Variant("doublewrite off: what it costs, no choice", safe=False,
                              server={"innodb-doublewrite": "OFF"}),
    "checksum-strict": Variant("full checksums checked strictly",
                               server={"innodb-checksum-algorithm": "strict_full_crc32"}),
    "flush-at-commit-2": Variant("log flushed once a second: what the disk costs, no choice",
                                     safe=False,
                                     server={"innodb-flush-log-at-trx-commit": "2"}),
    "base again": Variant("as it is, at the end"),
}


def measure(bench):
    chosen = choose(bench.options.variant)
    bench.start_stack()
    found = {"settings": end_to_end.settings(bench), "variants": {}, "failed": {}}
    bench.screen.passing(f"publishing {bench.options.events:,} events")
    bench.new_topic()
    bench.produce(bench.options.events)
    for name in chosen:
        try:
            found["variants"][name] = {
                "about": VARIANTS[name].about, "safe": VARIANTS[name].safe,
            } | measure_one(bench, VARIANTS[name])
        except (Failed, StackError) as error:
            found["failed"][name] = str(error).splitlines()[0]
    return found


def choose(names):
    """`all`, or names with commas between them; the base is always among them."""
    if names == "all":
        return list(VARIANTS)
    unknown = [name for name in names.split(",") if name not in VARIANTS]
    if unknown:
        raise Failed(f"no variant {', '.join(unknown)}: there are {', '.join(VARIANTS)}")
    return list(dict.fromkeys(["base", *names.split(",")]))


def measure_one(bench, variant):
    """The server's own options, and the size of a flush, are what they were afterwards."""
    options = bench.stack.settings.mysql_options
    before, batch = dict(options), bench.options.batch
    options |= variant.server
    bench.options.batch = variant.batch or batch
    try:
        return end_to_end.measure_ceiling(bench, lambda: change_tables(bench, variant))
    finally:
        options.clear()
        options |= before
        bench.options.batch = batch


def change_tables(bench, variant):
    for statement in variant.tables:
        bench.stack.mysql.sql(statement, DATABASE)
