"""Kafka Connect with Debezium's JDBC sink, as a peer of ledgerd.

The sink writes rows and knows no rule, so it is given rows that ledgerd made: they are read from
the journal and published as JSON with their schema, which is how Connect's own converter reads
tables. Two topics: a row of the journal an event, and the balance that it left. Inserts go through
MariaDB's driver with bulk statements, upserts through MySQL's with rewritten batches: each is the
faster one there.
"""

import contextlib
import json
import shutil
import subprocess
import time
from decimal import Decimal
from hashlib import sha256
from pathlib import Path

import confluent_kafka
import pymysql

from benchlib import machine
from benchlib.bench import DATABASE
from benchlib.errors import Failed
from stacklib import ports
from stacklib.kafka import MAVEN_PLUGIN, find_java
from stacklib.service import complete

FOLDER = Path(__file__).resolve().parents[1] / "connect"
TASKS = 2
BATCH = 5000
SAMPLE_S = 0.1
HEAP = "2G"
COMMIT_S = 30
STALLED_S = 300  # Java needs its time to start where others are at work
DRIVERS = {"insert": "mariadb://{address}/{database}?useBulkStmts=true",
           "upsert": "mysql://{address}/{database}?rewriteBatchedStatements=true"
                     "&useSSL=false&allowPublicKeyRetrieval=true"}

JOURNAL = {"kafka_partition": "int32", "kafka_offset": "int64", "transaction_id": "string",
           "account_id": "int64", "currency_code": "string", "type": "string", "amount": "string",
           "available_after": "string", "frozen_after": "string", "status": "string",
           "reason": "string", "event_time": "string", "prev_offset": "int64"}
BALANCE = {"account_id": "int64", "currency_code": "string", "available": "string",
           "frozen": "string", "version": "int64", "kafka_partition": "int32",
           "last_offset": "int64", "updated_at": "string"}
# topic: table, its key, its columns, which columns of the journal they are
TABLES = {
    "bench-journal": ("balance_transactions", "kafka_partition,kafka_offset", JOURNAL,
                      tuple(range(13))),
    "bench-balances": ("account_balances", "account_id,currency_code", BALANCE,
                       (3, 4, 7, 8, 1, 0, 1, 11)),
}
RUNS = {
    "connect journal insert": {"bench-journal": "insert"},
    "connect journal upsert": {"bench-journal": "upsert"},
    "connect balances upsert": {"bench-balances": "upsert"},
    "connect both": {"bench-journal": "insert", "bench-balances": "upsert"},
}


class Missing(Exception):
    """Kafka Connect cannot be had here; the text says why."""


def measure(bench):
    """(name, figures) of each run, or (name, what went wrong): the others are worth a table without
    it."""
    jars = fetch(bench)
    publish_rows(bench)
    wanted = found_rows(bench)
    for name, modes in RUNS.items():
        try:
            yield name, run(bench, jars, modes, wanted)
        except Failed as why:
            yield name, why


def fetch(bench):
    """The folder of the jars, which Maven fills once."""
    descriptor = FOLDER / "pom.xml"
    jars = bench.stack.cache / f"connect-{sha256(descriptor.read_bytes()).hexdigest()[:8]}"
    if jars.exists():
        return jars
    if not shutil.which("mvn"):
        raise Missing("no Maven (mvn): `deploy/install-deps test` installs it")
    bench.screen.passing("fetching Kafka Connect and Debezium with Maven (only once)")
    with complete(jars) as fresh:
        done = subprocess.run(
            ["mvn", "--batch-mode", "--no-transfer-progress", f"--file={descriptor}",
             f"--settings={FOLDER / 'settings.xml'}", f"{MAVEN_PLUGIN}:copy-dependencies",
             f"-DoutputDirectory={fresh}"], text=True, capture_output=True, check=False)
        if done.returncode != 0:
            raise Missing("Maven cannot fetch it: " + next(
                (line for line in done.stdout.splitlines() if "ERROR" in line), "no reason given"))
    return jars


# The rows.

def publish_rows(bench):
    for topic in TABLES:
        bench.new_topic(topic)
    producer = confluent_kafka.Producer({
        "bootstrap.servers": bench.stack.kafka.address, "compression.type": "lz4",
        "linger.ms": 50, "queue.buffering.max.messages": 200_000})
    heads = {topic: message_head(columns) for topic, (_, _, columns, _) in TABLES.items()}
    for number, row in enumerate(journal(bench)):
        if number % 10000 == 0:
            bench.screen.passing(f"publishing {number:,} rows for Connect")
        for topic, (_, _, columns, places) in TABLES.items():
            send(producer, topic, row[0], heads[topic] + payload(columns, row, places))
    producer.flush()


def send(producer, topic, partition, value):
    while True:
        try:
            producer.produce(topic, value, partition=partition)
            producer.poll(0)
            return
        except BufferError:
            producer.poll(0.1)


def message_head(columns):
    fields = [{"field": name, "type": kind, "optional": name in ("reason", "prev_offset")}
              for name, kind in columns.items()]
    schema = {"type": "struct", "name": "row", "optional": False, "fields": fields}
    return '{"schema":' + json.dumps(schema, separators=(",", ":")) + ',"payload":'


def payload(columns, row, places):
    values = dict(zip(columns, (row[place] for place in places)))
    return json.dumps(values, separators=(",", ":"), default=text) + "}"


def text(value):
    """Amounts without trailing zeros, as ledgerd sends them; times as MySQL reads them."""
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)


def journal(bench):
    """Rows of ledgerd's journal, in each partition's order, as the texts that the server sends."""
    with connection(bench, pymysql.cursors.SSCursor) as cursor:
        cursor.execute(f"SELECT {', '.join(JOURNAL)} FROM {DATABASE}.balance_transactions")
        yield from cursor


@contextlib.contextmanager
def connection(bench, kind=pymysql.cursors.Cursor):
    mysql = bench.stack.mysql
    with contextlib.closing(pymysql.connect(
            unix_socket=str(mysql.socket), user=mysql.admin, autocommit=True,
            cursorclass=kind)) as made, made.cursor() as cursor:
        yield cursor


# A run.

def run(bench, jars, modes, wanted):
    """modes: {topic: insert or upsert}; wanted: the rows as ledgerd made them."""
    bench.new_database()
    bench.screen.passing(f"Connect: {', '.join(f'{t} {m}' for t, m in modes.items())}")
    files = [connector_file(bench, topic, mode) for topic, mode in modes.items()]
    with open(bench.dir / "connect.log", "wb") as log:
        child = subprocess.Popen(worker_command(bench, jars, files), stdout=log, stderr=log,
                                 stdin=subprocess.DEVNULL, start_new_session=True)
    bench.children.append(child)
    rows = bench.options.events * len(modes)
    try:
        samples, usage = watch_rows(bench, child, rows)
        check_rows(bench, modes, wanted)
    finally:
        child.terminate()
        child.wait(60)
    rate, seconds = rate_of(samples)
    return {"events_per_second": rate / len(modes), "seconds": seconds} | usage.figures(
        rate * seconds / len(modes))


def watch_rows(bench, child, rows):
    """[(seconds, rows written)], and who used the cores, from the first row to the last."""
    samples, usage, moved = [], None, time.monotonic()
    with connection(bench) as cursor:
        begin = written(cursor)
        while not samples or samples[-1][1] < rows:
            now, done = time.monotonic(), written(cursor) - begin
            if child.poll() is not None or now - moved > STALLED_S:
                raise Failed(f"Kafka Connect stopped at {done:,} of {rows:,} rows: see "
                             f"{bench.dir / 'connect.log'}")
            if done > (samples[-1][1] if samples else rows // 100):  # drivers write a little, too
                moved = now
                usage = usage or machine.Usage(bench.server_pids() | {"java": child.pid})
                samples.append((now, done))
            bench.screen.passing(f"Connect: {done:,} of {rows:,} rows")
            time.sleep(SAMPLE_S)
    usage.end()
    return samples, usage


def written(cursor):
    """Rows that were sent to a table, those that became updates among them."""
    cursor.execute("SHOW GLOBAL STATUS LIKE 'Handler_write'")
    return int(cursor.fetchone()[1])


def rate_of(samples):
    (first_s, begin), (last_s, end) = samples[0], samples[-1]
    if last_s <= first_s:
        raise Failed("Connect wrote everything at once: take more --events")
    return (end - begin) / (last_s - first_s), last_s - first_s


def found_rows(bench):
    """What is in both tables, to be compared with what a peer makes of it."""
    return bench.stack.mysql.sql(
        "SELECT COUNT(*), SUM(amount), SUM(available_after) FROM balance_transactions; "
        "SELECT COUNT(*), SUM(available), SUM(frozen) FROM account_balances",
        DATABASE).splitlines()


def check_rows(bench, modes, wanted):
    """The last rows are committed by and by."""
    deadline = time.monotonic() + COMMIT_S
    for number, topic in enumerate(TABLES):
        while topic in modes and found_rows(bench)[number] != wanted[number]:
            if time.monotonic() > deadline:
                raise Failed(f"Kafka Connect did not write the rows of {topic} as they are: see "
                             f"{bench.dir / 'connect.log'}")
            time.sleep(0.5)


def worker_command(bench, jars, files):
    folder = bench.dir / "connect"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    worker = properties(folder / "worker.properties", {
        "bootstrap.servers": bench.stack.kafka.address,
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "true",
        "offset.storage.file.filename": folder / "offsets",
        "plugin.discovery": "service_load",  # looking into every class takes long
        "listeners": f"HTTP://127.0.0.1:{ports.free()}",
        "consumer.max.poll.records": BATCH, "consumer.fetch.min.bytes": 1 << 20,
        "consumer.max.partition.fetch.bytes": 16 << 20, "consumer.auto.offset.reset": "earliest"})
    connectors = [properties(folder / f"{one['name']}.properties", one) for one in files]
    return [find_java(), f"-Xmx{HEAP}", "-XX:+UseG1GC", "-XX:-UsePerfData",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{jars}/*",
            "org.apache.kafka.connect.cli.ConnectStandalone", worker, *connectors]


def connector_file(bench, topic, mode):
    """The properties of a sink."""
    table, key, _, _ = TABLES[topic]
    mysql = bench.stack.mysql
    return {
        "name": f"{topic}-{time.time_ns()}",  # a group of its own
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "tasks.max": TASKS, "topics": topic, "batch.size": BATCH,
        "connection.url": "jdbc:" + DRIVERS[mode].format(address=f"127.0.0.1:{mysql.port}",
                                                         database=DATABASE),
        "connection.username": mysql.user, "connection.password": mysql.password,
        "insert.mode": mode, "primary.key.mode": "record_value", "primary.key.fields": key,
        "schema.evolution": "none", "collection.name.format": table, "delete.enabled": "false",
    }


def properties(path, values):
    path.touch(mode=0o600)  # there is a password in it
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    return str(path)
