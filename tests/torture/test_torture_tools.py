"""The tools of the torture do what they say: proxy, disk, events, comparison with the oracle."""

import errno
import json
import os
import select
import socket
import threading
import time
from contextlib import closing

import check
import paths  # noqa: F401
import pytest
from check import Findings, Rows, fold
from databases import Databases
from disk import Disk
from harness import event, eventually, expected_row
from oracle import Oracle
from producer import Events
from proxy import Proxy
from watch import Partition

SILENCE_S = 0.3  # is taken for no answer
ANSWER_S = 30    # no answer by then is a failure


@pytest.fixture
def link():
    """A proxy before a server that answers each line with itself; makes connections through it."""
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=answer_all, args=(server,), daemon=True).start()
    proxy = Proxy(server.getsockname()[1])
    made = []

    def connect():
        made.append(socket.create_connection(("127.0.0.1", proxy.port), ANSWER_S))
        return made[-1]

    yield proxy, connect
    for one in (*made, server):
        one.close()
    proxy.close()


def answer_all(server):
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def answer(connection):
    with closing(connection):
        try:
            while line := connection.recv(1000):
                connection.sendall(line)
        except OSError:
            pass


def ask(connection, text=b"hello"):
    connection.sendall(text)
    return connection.recv(100)


def test_proxy_forwards(link):
    _, connect = link
    assert ask(connect()) == b"hello"


def test_proxy_cuts_old_and_new_connections(link):
    proxy, connect = link
    old = connect()
    ask(old)
    proxy.order(mode="cut")
    with pytest.raises(ConnectionResetError):
        old.recv(1)
    with pytest.raises(ConnectionError):
        ask(connect())
    proxy.heal()
    assert ask(connect()) == b"hello"


def test_proxy_delays(link):
    proxy, connect = link
    proxy.order(mode="delay", delay_s=0.1)
    began = time.monotonic()
    assert ask(connect()) == b"hello"
    assert time.monotonic() - began > 0.2  # there and back


@pytest.mark.parametrize("deaf", [["requests"], ["answers"], ["requests", "answers"]])
def test_proxy_swallows_for_ever(link, deaf):
    """A connection that has lost bytes never speaks again; new ones do."""
    proxy, connect = link
    old = connect()
    ask(old)
    proxy.order(mode="half_open", deaf=deaf)
    old.settimeout(SILENCE_S)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            ask(old)
        proxy.heal()
    assert ask(connect()) == b"hello"


def test_proxy_swallows_on_a_part(link):
    proxy, connect = link
    old = [connect() for _ in range(40)]
    for one in old:
        ask(one)
    proxy.order(mode="half_open", deaf=["requests"], share=0.5)
    assert ask(connect()) == b"hello"
    for one in old:
        one.sendall(b"hello")
    assert select.select(old, [], [], ANSWER_S)[0], "some answer"
    time.sleep(SILENCE_S)
    assert len(select.select(old, [], [], 0)[0]) < len(old), "some do not"


def test_proxy_turns_to_another_server(link):
    proxy, connect = link
    old = connect()
    ask(old)
    with socket.create_server(("127.0.0.1", 0)) as other:
        proxy.order(target=other.getsockname()[1])
        with pytest.raises(ConnectionResetError):
            old.recv(1)
        new = connect()
        new.sendall(b"x")
        assert other.accept()[0].recv(1) == b"x"


def test_disk_is_full_until_it_is_freed(tmp_path):
    disk = Disk(tmp_path / "data", 64 << 20)
    try:
        if disk.problem:
            pytest.skip(f"nothing can be mounted here: {disk.problem}")
        disk.fill()
        with pytest.raises(OSError) as full, open(disk.folder / "one", "wb", buffering=0) as file:
            file.write(b"x" * 4096)
        assert full.value.errno == errno.ENOSPC
        disk.free()
        (disk.folder / "one").write_bytes(b"x" * (1 << 20))
    finally:
        disk.close()
    assert not os.path.ismount(disk.folder)


@pytest.fixture
def databases(tmp_path):
    made = Databases(tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.close()


def test_a_replica_that_stopped_by_itself_is_told(databases):
    primary, replica = databases.primary.mysql, databases.standby.mysql
    primary.sql("CREATE TABLE ledger.t (id INT PRIMARY KEY); INSERT INTO ledger.t VALUES (1)")
    eventually(lambda: replica.client("SELECT * FROM ledger.t").stdout == "1\n")
    databases.note_replica_errors()
    assert databases.replica_errors == []
    replica.sql("DELETE FROM ledger.t")
    primary.sql("DELETE FROM ledger.t")
    eventually(lambda: databases.note_replica_errors() or databases.replica_errors)
    assert "binlog.000001" in databases.replica_errors[-1]  # of which each server says why


# The comparison: what the database holds is made here by hand, and then spoilt.


class Cursor:
    def __init__(self, rows):
        self.rows = rows

    def execute(self, *_):
        pass

    def __iter__(self):
        return iter(self.rows)


LOG = [(number, b"7", event(f"t{number}", 7, amount="5"), 0) for number in range(3)]
LOG += [(5, b"7", event("t1", 7, amount="5"), 0), (6, b"7", b"junk", 0)]


def journal():
    """The rows of LOG, as tuples of the oracle's, each in the form of a row that has an offset."""
    oracle = Oracle(1)
    for offset, key, value, timestamp in LOG:
        oracle.feed(0, offset, key, value, timestamp)
    return [{"kafka_offset": offset, "is": expected_row(row)}
            for (_, offset), row in oracle.rows.items()]


def compare(rows, dead):
    streams = [Rows(what, Cursor(found), "", 0, lambda row: row["is"])
               for what, found in (("journal", rows), ("dead letters", dead))]
    findings, _ = fold(LOG, 0, 1, *streams)
    return findings


DEAD = [{"kafka_offset": 6, "is": ("MALFORMED", b"7", b"junk")}]


def test_comparison_of_what_is_right():
    findings = compare(journal(), DEAD)
    assert findings.differences == []
    assert findings.messages == 5
    assert findings.outcomes == {"applied": 3, "duplicate": 1, "dead_letter": 1}


@pytest.mark.parametrize("spoil", [
    lambda rows: rows.pop(0), lambda rows: rows.pop(),
    lambda rows: rows.append({"kafka_offset": 5, "is": rows[1]["is"]}),
    lambda rows: rows.append({"kafka_offset": 7, "is": rows[1]["is"]}),
    lambda rows: rows[1].update({"is": (*rows[1]["is"][:-1], None)})])
def test_comparison_finds_what_is_wrong_in_the_journal(spoil):
    rows = journal()
    spoil(rows)
    assert compare(rows, DEAD).differences


@pytest.mark.parametrize("dead", [[], [*DEAD, DEAD[0] | {"kafka_offset": 7}],
                                  [{"kafka_offset": 6, "is": ("MALFORMED", b"7", b"junl")}]])
def test_comparison_finds_what_is_wrong_in_the_dead_letters(dead):
    assert compare(journal(), dead).differences


def test_findings_are_added():
    findings = Findings()
    for number in range(2):
        other = Findings(messages=1)
        other.outcomes["applied"] += number
        other.differ(str(number))
        findings.add(other)
    assert findings.messages == 2 and findings.outcomes == {"applied": 1}
    assert findings.differences == ["0", "1"]
    for number in range(2 * check.SHOWN):
        findings.differ(str(number))
    assert len(findings.differences) == check.SHOWN


def test_a_stall_lasts_while_something_waits():
    partition = Partition(0)
    partition.since = 0
    partition.step(5, 0, behind=False)
    assert partition.step(7, 0, behind=True) == 2
    assert partition.step(9, 0, behind=True) == 4
    partition.step(10, 3, behind=True)
    assert partition.step(11, 3, behind=True) == 1


def test_producer_makes_events_of_every_outcome():
    """And the same ones from the same seed."""
    events, again = (Events("seed", "a", 500, 1) for _ in range(2))
    oracle = Oracle(1)
    outcomes = set()
    for offset in range(5000):
        key, value, _ = events.next()
        assert (key, value) == again.next()[:2]
        outcomes.add(oracle.feed(0, offset, key, value, 0))
    assert outcomes == {"applied", "refused", "duplicate", "dead_letter"}
    assert {reason for reason, _, _ in oracle.dead.values()} == \
        {"MALFORMED", "KEY_MISMATCH", "ID_CONFLICT"}
    assert {row.reason for row in oracle.rows.values()} == \
        {None, "INSUFFICIENT_AVAILABLE", "INSUFFICIENT_FROZEN", "OVERFLOW"}
    assert json.loads(events.good()[1])["transaction_id"].startswith("a-")
