"""What deploy/stack promises, tried with real servers.

    /usr/bin/python3 -m pytest deploy          about half a minute; Redis serves where any server
                                               would do, as it starts in no time
"""

import contextlib
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from stack import Stack, StackError, free_port_base  # noqa: E402
from stacklib import kafka_wire  # noqa: E402
from stacklib.process import Process  # noqa: E402
from stacklib.service import complete  # noqa: E402

COMMAND = Path(__file__).resolve().parent / "stack"

# Kafka is fetched only once, for all tests and for the stack of deploy/stack itself.
os.environ.setdefault("STACK_CACHE", str(COMMAND.parents[1] / "build" / "stack" / "cache"))


@pytest.fixture
def stack(tmp_path):
    """A stack of its own that has not been started; whatever a test starts is stopped."""
    made = Stack(tmp_path / "s", port_base=free_port_base(), mysql_pool="128M", kafka_heap="256M",
                 need_free="100M")
    yield made
    made.stop()


def innocent():
    return subprocess.Popen(["sleep", "60"])


def redis_says(stack, request):
    with socket.create_connection(("127.0.0.1", stack.redis.port), 60) as connection:
        connection.sendall(request + b"\r\n")
        return connection.recv(4096)


def command(*args):
    return subprocess.run([COMMAND, *args], text=True, capture_output=True, check=False)


def test_all_three_start_answer_survive_a_crash_and_stop(stack):
    stack.start()
    assert stack.states() == {"kafka": "running", "mysql": "running", "redis": "running"}
    assert stack.kafka.create_topic("t", 3) and not stack.kafka.create_topic("t", 3)
    stack.mysql.sql("CREATE TABLE t (a INT); INSERT INTO t VALUES (7)", "ledger")

    stack.kill()
    assert set(stack.states().values()) == {"dead"}
    stack.start()

    assert kafka_wire.metadata(stack.kafka.port, ["t"])[1] == {"t": {0: 1, 1: 1, 2: 1}}
    assert stack.mysql.sql("SELECT a FROM t", "ledger") == "7\n"
    stack.stop()
    assert set(stack.states().values()) == {"stopped"}


def test_topics_grow_lose_records_and_go(stack):
    stack.start("kafka")
    stack.kafka.create_topic("t", 1, {"max.message.bytes": 5_000_000})
    with pytest.raises(StackError, match="exists with 1 partitions, not 2"):
        stack.kafka.create_topic("t", 2)
    stack.kafka.grow_topic("t", 4)
    assert stack.kafka.delete_records("t", 0, -1) == 0
    with pytest.raises(StackError, match="offset out of range"):
        stack.kafka.delete_records("t", 0, 1)
    stack.kafka.delete_topic("t")
    with pytest.raises(StackError, match="unknown topic"):
        stack.kafka.delete_topic("t")


def test_mysql_is_durable_private_and_takes_options(stack):
    stack.settings.mysql_options = {"innodb_lock_wait_timeout": "5"}
    stack.start("mysql")
    variables = "@@innodb_flush_log_at_trx_commit, @@local_infile, @@innodb_lock_wait_timeout"
    assert stack.mysql.sql(f"SELECT {variables}") == "1\t1\t5\n"
    assert stat.S_IMODE(stack.mysql.password_file.stat().st_mode) == 0o600
    assert len(stack.mysql.password) >= 16

    refused = subprocess.run(["mariadb", "--no-defaults", "-h127.0.0.1", f"-P{stack.mysql.port}",
                              "-uroot", "-eSELECT 1"], capture_output=True, check=False)
    assert refused.returncode != 0


def test_a_socket_with_a_long_path_is_put_below_tmp(tmp_path):
    deep = Stack(tmp_path / ("d" * 60) / ("e" * 60), port_base=free_port_base(),
                 mysql_pool="128M", need_free="100M")
    try:
        deep.start("mysql")
        folder = deep.mysql.socket.parent
        assert folder.parent == Path("/tmp") and deep.mysql.sql("SELECT 1") == "1\n"
    finally:
        deep.stop()
    assert not folder.exists()


def test_starting_twice_changes_nothing(stack):
    stack.start("redis")
    first = stack.redis.pid
    stack.start("redis")
    assert stack.redis.pid == first


def test_another_program_finds_the_stack_with_its_settings(stack):
    stack.start("redis")
    assert Stack(stack.dir).redis.pid == stack.redis.pid
    assert f"LEDGERD_REDIS_PORT={stack.redis.port}\n" in command("env", "--dir", stack.dir).stdout
    assert command("status", "redis", "--dir", stack.dir).returncode == 0
    assert command("stop", "--dir", stack.dir).returncode == 0
    assert stack.redis.state == "stopped"


def test_a_paused_server_is_resumed_by_start_and_ended_by_stop(stack):
    stack.start("redis")
    stack.pause("redis")
    assert stack.redis.state == "paused"
    stack.start("redis")
    assert redis_says(stack, b"PING") == b"+PONG\r\n"
    stack.pause("redis")
    stack.stop("redis")
    assert stack.redis.state == "stopped"


def test_a_reused_process_id_is_never_signalled(stack):
    stack.start("redis")
    stack.kill("redis")
    with innocent() as sleeper:
        record = stack.redis.record
        record.write_text(" ".join([str(sleeper.pid), *record.read_text().split()[1:]]))
        with pytest.raises(StackError, match="does not run"):
            stack.kill("redis")
        stack.stop("redis")
        assert sleeper.poll() is None
        sleeper.kill()


def test_a_process_of_an_earlier_boot_is_gone(tmp_path):
    with innocent() as sleeper:
        ticks = Path(f"/proc/{sleeper.pid}/stat").read_text().split()[21]
        (tmp_path / "record").write_text(f"{sleeper.pid} {ticks} another-boot mark")
        process = Process.load(tmp_path / "record")
        assert process.state == "gone" and not process.signal(signal.SIGKILL)
        assert sleeper.poll() is None
        sleeper.kill()


LEADER_ENDS_FIRST = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
ctypes.PyDLL(None).pthread_exit(None)
"""


def test_a_process_is_not_gone_before_its_last_thread(tmp_path):
    """Kafka's port was still taken when the first of its threads had died, one start in ten."""
    process = Process.spawn([sys.executable, "-c", LEADER_ENDS_FIRST],
                            tmp_path / "record", tmp_path / "log", "mark")
    try:
        wait_until(lambda: proc_state(process.pid) == "Z")
        assert process.state != "gone"
    finally:
        process.signal(signal.SIGKILL)
    assert process.wait("gone", 60)


def proc_state(pid):
    return Path(f"/proc/{pid}/stat").read_text().split()[2]


def wait_until(condition, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_torn_record_is_no_record(stack):
    stack.redis.dir.mkdir(parents=True)
    stack.redis.record.write_text("12")
    assert stack.redis.state == "stopped"
    stack.start("redis")


DIES_AFTER_SPAWNING = """
import os, sys
from stack import Stack
from stacklib import process
process.stat = lambda pid: os.kill(os.getpid(), 9)  # the first thing that is asked of a new process
Stack(sys.argv[1], port_base=int(sys.argv[2]), need_free="0").start("redis")
"""


def test_no_server_is_lost_when_its_starter_is_killed(stack):
    """One that had not been recorded yet would hold the port for ever."""
    starter = subprocess.run(
        [sys.executable, "-c", DIES_AFTER_SPAWNING, stack.dir, str(stack.settings.port_base)],
        cwd=COMMAND.parent, check=False)
    assert starter.returncode == -signal.SIGKILL
    wait_until(lambda: stack.redis.pid)
    stack.start("redis")


def test_a_taken_port_is_named_with_its_owner(stack):
    with socket.create_server(("127.0.0.1", stack.redis.port)):
        with pytest.raises(StackError) as failure:
            stack.start("redis")
    assert f"port {stack.redis.port} is taken by" in str(failure.value)
    assert f"(pid {os.getpid()})" in str(failure.value)
    assert "--port-base" in str(failure.value)


def test_everything_wrong_is_told_at_once(stack, tmp_path, monkeypatch):
    stack.cache = tmp_path / "empty"
    stack.settings.mysql_server = "mariadb"
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(StackError) as failure:
        stack.start()
    for missing in ("no Java", "no Maven", "no MariaDB", "deploy/install-deps run"):
        assert missing in str(failure.value)


def test_a_folder_without_mysql_is_named(tmp_path):
    with pytest.raises(StackError, match=f"deploy/install-mysql {tmp_path}/none` fetches it"):
        Stack(tmp_path / "s", port_base=free_port_base(), need_free="100M",
              mysql_server=tmp_path / "none").start("mysql")


def test_the_data_of_another_server_are_left_alone(stack):
    stack.mysql.data.mkdir(parents=True)
    with pytest.raises(StackError, match="was made by another server than --mysql-server"):
        stack.start("mysql")
    assert not list(stack.mysql.data.iterdir())


def test_a_java_too_old_is_refused(stack, tmp_path, monkeypatch):
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(StackError, match="is Java 11, too old .* needs 17"):
        stack.start("kafka")


MIRROR = """<settings><mirrors><mirror><id>here</id><mirrorOf>*</mirrorOf>
<url>{}</url></mirror></mirrors></settings>
"""


def maven_uses(url, home, monkeypatch):
    """Maven asks only this repository, and has nothing yet."""
    (home / ".m2").mkdir(parents=True)
    (home / ".m2" / "settings.xml").write_text(MIRROR.format(url))
    monkeypatch.setenv("MAVEN_OPTS", f"-Duser.home={home}")


@contextlib.contextmanager
def server_nobody_trusts(folder):
    """An HTTPS server whose certificate it has signed itself; its port."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-subj",
                    "/CN=localhost", "-keyout", folder / "key", "-out", folder / "cert"],
                   check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "cert", folder / "key")
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=shake_hands, args=(server, tls), daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def shake_hands(server, tls):
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            with contextlib.suppress(OSError):
                tls.wrap_socket(connection, server_side=True).close()


def test_maven_and_a_certificate_that_java_does_not_trust(stack, tmp_path, monkeypatch):
    """It was called a missing network."""
    stack.cache = tmp_path / "empty"
    with server_nobody_trusts(tmp_path) as port:
        maven_uses(f"https://localhost:{port}/maven", tmp_path / "home", monkeypatch)
        with pytest.raises(StackError) as failure:
            stack.start("kafka")
    assert f"does not trust the certificate of https://localhost:{port}/maven" in str(failure.value)
    assert "update-ca-certificates" in str(failure.value)
    assert "no network" not in str(failure.value)


def test_maven_and_no_network(stack, tmp_path, monkeypatch):
    stack.cache = tmp_path / "empty"
    maven_uses("https://127.0.0.1:1/maven", tmp_path / "home", monkeypatch)
    with pytest.raises(StackError, match="no network, or Maven may not use it"):
        stack.start("kafka")


@contextlib.contextmanager
def as_nobody():
    """Root may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_cache_of_somebody_else_is_named(stack, tmp_path):
    """It ended in a traceback."""
    stack.cache = tmp_path / "theirs"
    stack.cache.mkdir(mode=0)
    with as_nobody():
        missing = stack.kafka.missing()
    assert f"cache {stack.cache} cannot be used (Permission denied" in missing[0]
    assert "--cache" in missing[0]


def test_a_cache_that_is_no_folder_is_named(stack, tmp_path):
    stack.cache = tmp_path / "file"
    stack.cache.touch()
    with pytest.raises(StackError, match="cannot be used .*choose another folder"):
        stack.start("kafka")


def test_a_full_disk_is_refused(stack):
    stack.settings.need_free = "900000G"
    with pytest.raises(StackError, match="free some space"):
        stack.start("redis")


def test_a_death_at_the_start_shows_the_log_and_the_remedy(stack):
    stack.settings.redis_options = {"nonsense": "1"}
    with pytest.raises(StackError) as failure:
        stack.start("redis")
    assert "correct the --redis-option" in str(failure.value)
    assert str(stack.redis.log) in str(failure.value)
    assert "nonsense 1" in str(failure.value)
    assert stack.redis.state == "dead"


def test_ports_do_not_move_under_a_running_server(stack):
    stack.start("redis")
    with pytest.raises(StackError, match="stop` first"):
        Stack(stack.dir, port_base=stack.settings.port_base + 100).start("redis")


def test_redis_comes_back_from_a_torn_append_only_file(stack):
    stack.settings.redis_appendonly = True
    stack.start("redis")
    assert redis_says(stack, b"SET k v") == b"+OK\r\n"
    stack.kill("redis")
    newest = next(stack.redis.data.glob("appendonlydir/*.incr.aof"))
    newest.write_bytes(newest.read_bytes() + b"*3\r\n$3\r\nset\r\n$1")
    stack.start("redis")
    assert redis_says(stack, b"GET k") == b"$1\r\nv\r\n"


def test_a_folder_that_was_not_completed_does_not_get_its_name(tmp_path):
    (tmp_path / "data.new-1").mkdir()
    with pytest.raises(RuntimeError):
        with complete(tmp_path / "data"):
            raise RuntimeError
    assert not list(tmp_path.iterdir())
    with complete(tmp_path / "data") as fresh:
        (fresh / "file").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "file"]


@pytest.mark.parametrize("args", [["start", "nobody"], ["start", "--mysql-pool", "much"],
                                  ["start", "--port-base", "60000"], ["kill"], ["env"]])
def test_bad_commands_are_refused_in_one_line(tmp_path, args):
    done = command(*args, "--dir", tmp_path / "s")
    assert done.returncode == 1
    assert done.stderr.startswith("stack: ") and done.stderr.count("\n") == 1
