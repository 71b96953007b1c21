"""The database is set back to an older point in time, or lost: it heals from Kafka, and Redis follows."""

import shutil
import subprocess
import threading

from harness import event, eventually, random_events


class Load:
    """Publishes events of every kind in the background, as long as it is entered."""

    def __init__(self, ledger, prefix, events=200, pause_s=0):
        self.ledger = ledger
        self.prefix = prefix
        self.events = events
        self.pause_s = pause_s
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        number = 0
        while not self.over.is_set():
            bad = event("bad", 1, "DANCE")
            some = random_events(self.events, number, prefix=f"{self.prefix}{number}")
            self.ledger.publish([*some, bad])
            number += 1
            self.over.wait(self.pause_s)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def dump(ledger, path):
    """A backup as docs/OPERATIONS.md has it."""
    with open(path, "wb") as file:
        subprocess.run([*ledger.stack.mysql.tool("dump"), "--single-transaction", "--databases",
                        ledger.database], stdout=file, check=True)


def restore(ledger, path):
    with open(path, "rb") as file:
        subprocess.run(ledger.stack.mysql.tool(), stdin=file, check=True)


def wait_progress(ledger, before, events=1000):
    eventually(lambda: sum(ledger.next_offsets()) > sum(before) + events,
               what="a few more flushes")


def assert_healed(ledger):
    ledger.wait_consumed(180)  # leases that an old database brings back may last a minute
    ledger.assert_equals_oracle(redis=False)
    ledger.run("snapshot", "rebuild")
    ledger.assert_equals_oracle()
    assert "no differences" in ledger.run("verify", "--from-kafka")


def test_a_dump_that_was_taken_under_load(ledger, tmp_path):
    """The procedure of docs/OPERATIONS.md, "Backup and restore"."""
    one = ledger.start("one")
    with Load(ledger, "a"):
        eventually(lambda: sum(ledger.next_offsets()) > 1000, what="a few flushes")
        dump(ledger, tmp_path / "backup.sql")
        wait_progress(ledger, ledger.next_offsets(), 3000)
    ledger.wait_consumed()
    assert one.stop() == 0
    newest = ledger.next_offsets()
    ahead = ledger.redis_balances()
    restore(ledger, tmp_path / "backup.sql")
    assert sum(ledger.next_offsets()) < sum(newest) - 1000, "it is an older one"
    assert ledger.redis_balances() == ahead != ledger.redis_of_mysql()
    ledger.run("snapshot", "rebuild")
    assert ledger.redis_balances() == ledger.redis_of_mysql(), "Redis was set back, too"
    ledger.publish(random_events(500, prefix="after"))
    two = ledger.start("two")
    assert_healed(ledger)
    assert two.stop() == 0


def test_a_server_that_went_back_under_running_owners(make_ledger, tmp_path):
    """As a fail-over to a copy that is behind: nobody is restarted, and nothing is typed. The leases
    outlast the time that the server is away, or their owners would have given up by themselves."""
    ledger = make_ledger(lease_ttl_ms=60000)
    mysql = ledger.stack.mysql
    one, two = ledger.start("one"), ledger.start("two")
    ledger.publish(random_events(2000, prefix="old"))
    ledger.wait_consumed()
    ledger.stack.stop("mysql")
    shutil.copytree(mysql.data, tmp_path / "data")
    ledger.stack.start("mysql")
    before = ledger.next_offsets()
    with Load(ledger, "new"):
        wait_progress(ledger, before)
        ledger.stack.stop("mysql")
        newer = mysql.data.rename(tmp_path / "newer")
        try:
            shutil.copytree(tmp_path / "data", mysql.data)
        except OSError:
            newer.rename(mysql.data)
            raise
        ledger.stack.start("mysql")
    shutil.rmtree(newer)
    assert_healed(ledger)
    assert one.metric("ledger_fenced_total") + two.metric("ledger_fenced_total") > 0
    assert one.process.poll() is None and two.process.poll() is None


def test_a_database_that_was_lost(ledger):
    """The whole log is there: it is the ledger."""
    one = ledger.start("one")
    ledger.publish([*random_events(2000), event("bad", 1, "DANCE")])
    ledger.wait_consumed()
    assert one.stop() == 0
    ledger.stack.mysql.sql(f"DROP DATABASE {ledger.database}; CREATE DATABASE {ledger.database}")
    ledger.run("migrate")
    ledger.start("two")
    assert_healed(ledger)
