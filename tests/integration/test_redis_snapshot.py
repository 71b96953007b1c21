"""The edge to Redis, and the publisher over it, against real servers that are killed, emptied, stopped,
demoted and misused.

snapshot_redis_tool (C) is driven by lines; what it wrote is read by redis-py. Every test has a server
of its own, so none of them needs the stack.
"""

import contextlib
import errno
import os
import random
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
import redis

from harness import eventually
from stacklib import ports

ROOT = Path(__file__).resolve().parents[2]
PARTITIONS = 4
CHECK_MS = 300
COMPLETE = "complete"


def find_tool():
    """Built beside ledgerd, in tests/integration."""
    if "SNAPSHOT_REDIS_TOOL" in os.environ:
        return os.environ["SNAPSHOT_REDIS_TOOL"]
    for folder in Path(os.environ.get("LEDGERD", "ledgerd")).resolve().parents[:2]:
        tool = folder / "tests" / "integration" / "snapshot_redis_tool"
        if tool.exists():
            return str(tool)
    return pytest.fail("no snapshot_redis_tool beside $LEDGERD; name it in SNAPSHOT_REDIS_TOOL")


def server_program():
    """Debian's redis-tools has the server under the name of another tool."""
    for name in ("redis-server", "redis-check-rdb"):
        for folder in os.environ["PATH"].split(":") + ["/usr/bin"]:
            if os.access(f"{folder}/{name}", os.X_OK):
                return f"{folder}/{name}"
    return pytest.fail("no Redis: install redis-tools")


class Server:
    """A Redis of our own; killed and started again on the same port."""

    def __init__(self, folder, **options):
        self.folder = folder
        self.port = ports.free()
        self.options = {"save": "", "appendonly": "no"} | options
        self.process = None
        self.start()

    def start(self, wait=True, **more):
        self.folder.mkdir(exist_ok=True)
        argv = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1",
                "--dir", str(self.folder)]
        for name, value in (self.options | more).items():
            argv += ["--" + name.replace("_", "-"), value]
        with open(self.folder.parent / "redis.log", "ab") as log:
            self.process = subprocess.Popen(argv, executable=server_program(), stdout=log,
                                            stderr=log)
        if wait:
            eventually(self.answers, what="redis answers")

    def answers(self):
        assert self.process.poll() is None, "redis ended"
        try:
            return self.client.ping()
        except redis.AuthenticationError:
            return True
        except (redis.ConnectionError, redis.BusyLoadingError):
            return False

    @property
    def client(self):
        return redis.Redis(port=self.port, decode_responses=True, socket_timeout=10,
                           password=self.options.get("requirepass"))

    def kill(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()

    @contextlib.contextmanager
    def stopped(self):
        self.process.send_signal(signal.SIGSTOP)
        yield
        self.process.send_signal(signal.SIGCONT)


class Tool:
    """snapshot_redis_tool; a call sends a line and returns the answer without its `ok`."""

    def __init__(self, mode, port, **options):
        options = {"check_interval_ms": CHECK_MS} | options
        env = {f"LEDGERD_REDIS_{key.upper()}": str(value) for key, value in options.items()}
        env |= {"LEDGERD_REDIS_PORT": str(port), "PATH": os.environ["PATH"]}
        self.process = subprocess.Popen([find_tool(), mode], env=env, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        self.log = []
        threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True).start()

    def try_(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().rstrip("\n")
        assert answer, f"the tool ended: {self.log}"
        return answer

    def __call__(self, line):
        answer = self.try_(line)
        assert answer.startswith("ok"), f"{line}: {answer}"
        return answer[3:]

    def fails(self, line, code, *words):
        answer = self.try_(line)
        match = re.fullmatch(r"error (-\d+) (.*)", answer)
        assert match, f"{line}: {answer}"
        assert -int(match[1]) == code, answer
        for word in words:
            assert word in match[2], answer
        return match[2]

    def publish(self, *images):
        """Images are (account, currency, available, frozen, version, updated_ms)."""
        for image in images:
            self("image " + " ".join(map(str, image)))
        return int(self("publish").removeprefix("stale="))

    def stats(self):
        return {k: int(v) for k, v in (pair.split("=") for pair in self("stats").split())}

    def close(self):
        self.process.stdin.close()
        code = self.process.wait(20)
        assert code == 0, f"the tool's status is {code}: {self.log[-30:]}"


@pytest.fixture
def make_server(tmp_path):
    made = []

    def make(**options):
        made.append(Server(tmp_path / f"redis-{len(made)}", **options))
        return made[-1]

    yield make
    for server in made:
        server.kill()


@pytest.fixture
def server(make_server):
    return make_server()


@pytest.fixture
def make_tool():
    made = []

    def make(mode, port, **options):
        made.append(Tool(mode, port, **options))
        return made[-1]

    yield make
    for tool in made:
        tool.close()


@pytest.fixture
def snapshot(make_tool, server):
    tool = make_tool("snapshot", server.port)
    tool("connect")
    return tool


def balance(server, account, currency="USDT"):
    return server.client.hgetall(f"balance:{{{account}}}:{currency}")


# What is written -------------------------------------------------------------------------------


def test_a_balance_is_a_hash_of_four_fields(snapshot, server):
    assert snapshot.publish((1001, "USDT", "10.5", "0", 3, 1767225600000)) == 0
    assert server.client.keys() == ["balance:{1001}:USDT"]
    assert balance(server, 1001) == {"available": "10.5", "frozen": "0", "version": "3",
                                     "updated_at": "1767225600000"}


AMOUNTS = ["0", "0.000000000000000001", "999999999999999999.999999999999999999", "10.5", "1",
           "100000000000000000", "0.1", "123456789012345678.1", "4503599627370497.5"]


@pytest.mark.parametrize("amount", AMOUNTS)
def test_amounts_are_kept_to_the_last_digit(snapshot, server, amount):
    snapshot.publish((1, "BTC", amount, "0", 1, 1), (2, "BTC", "1", amount, 1, 1))
    assert balance(server, 1, "BTC")["available"] == amount
    assert balance(server, 2, "BTC")["frozen"] == amount
    assert snapshot("read 1 BTC") == f"{amount} 0 1 1"
    assert snapshot("read 2 BTC") == f"1 {amount} 1 1"


def test_amounts_take_no_part_in_the_comparison(snapshot, server):
    """A newer version wins by one digit in the eighteenth place, up and down."""
    snapshot.publish((1, "BTC", "999999999999999999.999999999999999998", "0", 1, 1))
    snapshot.publish((1, "BTC", "999999999999999999.999999999999999999", "0", 2, 1))
    assert balance(server, 1, "BTC")["available"].endswith("9")
    snapshot.publish((1, "BTC", "999999999999999999.999999999999999998", "0", 3, 1))
    assert balance(server, 1, "BTC")["available"].endswith("8")


def test_the_last_write_wins_by_version(snapshot, server):
    assert snapshot.publish((1, "USDT", "5", "1", 5, 50), (2, "USDT", "5", "1", 5, 50),
                            (3, "USDT", "5", "1", 5, 50)) == 0
    assert snapshot.publish((1, "USDT", "4", "2", 4, 60), (2, "USDT", "5.5", "2", 5, 60),
                            (3, "USDT", "6", "2", 6, 60), (4, "USDT", "1", "2", 1, 60)) == 1
    assert balance(server, 1) == {"available": "5", "frozen": "1", "version": "5",
                                  "updated_at": "50"}  # older loses, whole
    assert balance(server, 2) == {"available": "5.5", "frozen": "2", "version": "5",
                                  "updated_at": "60"}  # equal overwrites
    assert balance(server, 3)["available"] == "6"
    assert balance(server, 4)["available"] == "1"


@pytest.mark.parametrize(("old", "new", "stale"), [
    (9, 10, 0), (10, 9, 1), (99, 100, 0), (2**53 - 2, 2**53 - 1, 0), (2**53 - 1, 2**53 - 2, 1),
    (999999999999999, 1000000000000000, 0)])
def test_versions_are_compared_as_numbers(snapshot, server, old, new, stale):
    snapshot.publish((1, "USDT", "1", "0", old, 1))
    assert snapshot.publish((1, "USDT", "2", "0", new, 1)) == stale
    assert balance(server, 1)["version"] == str(max(old, new))


@pytest.mark.parametrize("version", ["x", "", "nan", "inf", "1e300", str(2**53), "-1"])
def test_a_version_that_cannot_be_ours_loses(snapshot, server, version):
    server.client.hset("balance:{1}:USDT", mapping={"version": version, "available": "1e9"})
    assert snapshot("read 1 USDT").split()[2] == "-1"
    assert snapshot.publish((1, "USDT", "1", "0", 1, 1)) == 0
    assert snapshot("read 1 USDT") == "1 0 1 1"


def test_many_images_go_in_many_calls(make_tool, server):
    tool = make_tool("snapshot", server.port, keys_per_call=100, calls_in_flight=3)
    tool("connect")
    assert tool.publish(*((i, "USDT", i, 0, i, 1) for i in range(1, 1052))) == 0
    assert server.client.dbsize() == 1051
    assert server.client.info("commandstats")["cmdstat_evalsha"]["calls"] == 11
    for i in (1, 100, 101, 1000, 1051):
        assert balance(server, i)["available"] == str(i)


def test_read_says_what_is_there_and_what_is_not(snapshot, server):
    snapshot.publish((1, "USDT", "1.5", "2.5", 7, 8))
    assert snapshot("read 1 USDT") == "1.5 2.5 7 8"
    assert snapshot("read 1 BTC") == "0 0 0 0"
    server.client.set("balance:{2}:USDT", "x")
    assert snapshot("read 2 USDT").split()[2] == "-1"
    for field, value in (("available", "1.50"), ("version", "0"), ("frozen", "-1"),
                         ("version", "9007199254740992"), ("updated_at", "")):  # not how we write
        snapshot.publish((1, "USDT", "1.5", "2.5", 7, 8))
        server.client.hset("balance:{1}:USDT", field, value)
        assert snapshot("read 1 USDT").split()[2] == "-1", (field, value)
        server.client.delete("balance:{1}:USDT")


# The script ------------------------------------------------------------------------------------


def test_a_forgotten_script_is_loaded_again(snapshot, server):
    snapshot.publish((1, "USDT", "1", "0", 1, 1))
    server.client.script_flush()
    snapshot.publish((1, "USDT", "2", "0", 2, 1))
    assert balance(server, 1)["version"] == "2"


def test_a_script_that_is_forgotten_in_the_middle(make_tool, server):
    """The cache is emptied between two calls of one publish: some are written, some answer NOSCRIPT."""
    tool = make_tool("snapshot", server.port, keys_per_call=50, calls_in_flight=4)
    tool("connect")
    for version in range(1, 6):
        def flush(version=version):
            client = server.client
            eventually(lambda: client.hget("balance:{2000}:USDT", "version") == str(version),
                       every_s=0.001)
            server.client.script_flush()

        flusher = threading.Thread(target=flush)
        flusher.start()
        tool.publish(*((i, "USDT", i, 0, version, 1) for i in range(1, 30001)))
        flusher.join()
    assert server.client.dbsize() == 30000
    client = server.client
    assert {client.hget(f"balance:{{{i}}}:USDT", "version") for i in range(1, 30001, 7)} == {"5"}
    assert server.client.info("errorstats")["errorstat_NOSCRIPT"] != "count=0"


# Identity and markers --------------------------------------------------------------------------


def test_identity_changes_with_the_process(snapshot, server):
    before = snapshot("identity")
    snapshot("connect")
    assert snapshot("identity") == before
    server.kill()
    server.start()
    snapshot.try_("publish")
    snapshot("connect")
    assert snapshot("identity") != before


def test_identity_changes_when_a_server_was_demoted_and_promoted(snapshot, server, make_server):
    """Its process and its connections stay, and its data has become another's."""
    other = make_server()
    before = snapshot("identity")
    server.client.replicaof("127.0.0.1", other.port)
    eventually(lambda: server.client.info("replication")["master_link_status"] == "up")
    server.client.replicaof("no", "one")
    after = snapshot("identity")
    assert after.split("-")[0] == before.split("-")[0]
    assert after != before


def test_marker_is_replaced_only_if_it_is_the_expected_one(snapshot, server):
    assert snapshot("marker 7") == ""
    assert snapshot("mark 7 x y") == "kept"
    assert snapshot("mark 7 - complete_abc_12") == "written"
    assert snapshot("marker 7") == "complete abc 12"
    assert server.client.get("ledgerd:default:complete:7") == "complete abc 12"
    assert snapshot("mark 7 - other") == "kept"
    assert snapshot("mark 7 complete_abc_12 complete_abc_13") == "written"
    assert snapshot("marker 7") == "complete abc 13"
    assert snapshot("marker 8") == ""


def test_a_marker_that_is_not_ours_is_for_a_person(snapshot, server):
    server.client.set("ledgerd:default:complete:0", "x" * 1000)
    snapshot.fails("marker 0", errno.EINVAL, "ledgerd:default:complete:0", "delete")
    server.client.delete("ledgerd:default:complete:0")


def test_a_marker_of_another_type_is_none(snapshot, server):
    server.client.lpush("ledgerd:default:complete:0", "x")
    assert snapshot("marker 0") == ""
    assert snapshot("mark 0 a b") == "kept"
    assert snapshot("mark 0 - a") == "written"
    assert snapshot("marker 0") == "a"


# Errors ----------------------------------------------------------------------------------------


def put(tool, account=1):
    tool(f"image {account} USDT 1 0 1 1")


def test_a_key_of_another_type_is_replaced(make_tool, server):
    """The names are ours: whoever has taken one must not keep all the others from being written."""
    tool = make_tool("snapshot", server.port, keys_per_call=2)
    tool("connect")
    server.client.lpush("balance:{8}:USDT", "mine")
    server.client.set("balance:{5}:USDT", "mine")
    for account in range(1, 9):
        put(tool, account)
    assert tool("publish") == "stale=0"
    assert tool("replaced") == "2"
    assert {tool(f"read {account} USDT") for account in range(1, 9)} == {"1 0 1 1"}
    put(tool, 5)
    assert tool("publish") == "stale=0"
    assert tool("replaced") == "2"


def test_nobody_listens(make_tool):
    port = ports.free()
    tool = make_tool("snapshot", port)
    tool.fails("connect", errno.ECONNREFUSED, f"127.0.0.1:{port}", "redis.host")
    tool.fails("publish", errno.ENOTCONN)
    tool.fails("identity", errno.ENOTCONN)
    tool.fails("read 1 USDT", errno.ENOTCONN)


def test_connection_is_cut(snapshot, server):
    server.client.client_kill_filter(_type="normal", skipme=True)
    put(snapshot)
    snapshot.fails("publish", errno.ECONNRESET, "writing balances")
    snapshot("connect")
    put(snapshot)
    snapshot("publish")


def test_server_hangs(snapshot, server):
    put(snapshot)
    with server.stopped():
        begin = time.monotonic()
        snapshot.fails("publish", errno.ETIMEDOUT, "no answer within")
        assert 4 < time.monotonic() - begin < 12
    snapshot("connect")
    put(snapshot)
    snapshot("publish")


def test_passwords(make_server, make_tool):
    server = make_server(requirepass="a secret")
    server.client.acl_setuser("app", enabled=True, passwords=["+hidden"], keys=["*"],
                              commands=["+@all"])
    make_tool("snapshot", server.port).fails("connect", errno.EACCES, "LEDGERD_REDIS_PASSWORD")
    for options in ({"password": "wrong"}, {"user": "app", "password": "wrong"}):
        text = make_tool("snapshot", server.port, **options).fails("connect", errno.EACCES)
        assert "wrong or" not in text and '"wrong"' not in text
    for options in ({"password": "a secret"}, {"user": "app", "password": "hidden"}):
        tool = make_tool("snapshot", server.port, **options)
        tool("connect")
        put(tool)
        tool("publish")


def test_password_for_a_server_that_has_none(make_tool, server):
    tool = make_tool("snapshot", server.port, password="needless")
    assert "needless" not in tool.fails("connect", errno.EACCES, "no password")


def test_rights_of_the_readme_are_enough(make_tool, server):
    command = re.search(r"^ACL SETUSER ledgerd .*$", (ROOT / "lua/README.md").read_text(), re.M)[0]
    server.client.execute_command(*command.replace(">PASSWORD", ">hidden").split())
    tool = make_tool("snapshot", server.port, user="ledgerd", password="hidden")
    tool("connect")
    tool("identity")
    tool("check")
    tool.publish((1, "USDT", "1", "0", 1, 1))
    assert tool("read 1 USDT") == "1 0 1 1"
    assert tool("mark 0 - a") == "written"
    assert tool("marker 0") == "a"
    server.client.set("balance:{1}:USDT", "mine")
    assert tool.publish((1, "USDT", "1", "0", 1, 1)) == 0
    assert tool("read 1 USDT") == "1 0 1 1"
    server.client.execute_command("ACL", "SETUSER", "ledgerd", "-hset")
    put(tool)
    tool.fails("publish", errno.EACCES, "lua/README.md")


def test_memory_is_full(snapshot, server):
    server.client.config_set("maxmemory", "1")
    put(snapshot)
    snapshot.fails("publish", errno.ENOSPC, "maxmemory")


def test_replica_is_read_only(snapshot, server):
    server.client.replicaof("127.0.0.1", ports.free())
    put(snapshot)
    snapshot.fails("publish", errno.EROFS, "redis.host must name the master")
    snapshot.fails("mark 0 - a", errno.EROFS)
    snapshot.fails("check", errno.EINVAL, "replica")


def test_disk_is_gone(make_server, make_tool):
    server = make_server(save="3600 1")
    tool = make_tool("snapshot", server.port)
    tool("connect")
    server.folder.rmdir()
    server.client.bgsave()
    eventually(lambda: server.client.info("persistence")["rdb_last_bgsave_status"] == "err")
    put(tool)
    tool.fails("publish", errno.ENOSPC, "MISCONF", "its log says why")
    server.client.config_set("save", "")


def test_server_is_loading(make_server, make_tool):
    server = make_server()
    server.client.mset({f"k{i}": "x" * 1000 for i in range(5000)})
    server.client.save()
    server.kill()
    server.start(wait=False, key_load_delay="2000", loading_process_events_interval_bytes="1024")
    tool = make_tool("snapshot", server.port)

    def loading():
        answer = tool.try_("connect")
        return answer if "LOADING" in answer else None

    assert f"error -{errno.EAGAIN} " in eventually(loading, what="LOADING")


def is_busy(server):
    try:
        return not server.client.ping()
    except redis.ResponseError as error:
        return "BUSY" in str(error)


def test_server_is_busy(snapshot, server):
    server.client.config_set("busy-reply-threshold", "50")

    def endless():
        with contextlib.suppress(redis.ResponseError):
            server.client.eval("while true do end", 0)

    thread = threading.Thread(target=endless)
    thread.start()
    eventually(lambda: is_busy(server), what="the script keeps it busy")
    put(snapshot)
    snapshot.fails("publish", errno.EAGAIN, "SCRIPT KILL")
    server.client.script_kill()
    thread.join()
    put(snapshot)
    snapshot("publish")


def test_cluster_is_refused(make_server, make_tool):
    server = make_server(cluster_enabled="yes", cluster_port=str(ports.free()))
    tool = make_tool("snapshot", server.port)
    tool("connect")
    tool.fails("check", errno.EINVAL, "cluster")
    put(tool)
    tool.fails("publish", errno.ENOTSUP, "Redis Cluster is not supported")


def test_calls_in_flight_are_limited(make_tool):
    """A server that takes calls and answers none gets no more than redis.calls_in_flight."""
    received = bytearray()

    def serve(listener):
        connection, _ = listener.accept()
        connection.recv(65536)  # SCRIPT LOAD
        connection.sendall(b"$40\r\n" + b"a" * 40 + b"\r\n")
        while received.count(b"EVALSHA") < 3:
            received.extend(connection.recv(65536))
        connection.settimeout(1)
        with contextlib.suppress(TimeoutError):
            while True:  # what comes beyond them
                received.extend(connection.recv(65536))
        connection.close()

    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        tool = make_tool("snapshot", listener.getsockname()[1], keys_per_call=2, calls_in_flight=3)
        tool("connect")
        for account in range(1, 21):
            put(tool, account)
        tool.fails("publish", errno.ECONNRESET)
        thread.join()
    assert received.count(b"EVALSHA") == 3


def test_it_is_not_redis(make_tool):
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def answer():
            connection, _ = listener.accept()
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        make_tool("snapshot", listener.getsockname()[1]).fails("connect", errno.EPROTO)
        thread.join()


def test_check_is_content_with_a_plain_server(snapshot):
    snapshot("check")


def test_check_refuses_a_server_that_evicts(snapshot, server):
    server.client.config_set("maxmemory", "100mb")
    snapshot("check")
    server.client.config_set("maxmemory-policy", "allkeys-lru")
    snapshot.fails("check", errno.EINVAL, "noeviction", "allkeys-lru")


# The publisher ---------------------------------------------------------------------------------


class World:
    """A publisher with four partitions, and what was committed to them."""

    def __init__(self, tool, server):
        self.tool = tool
        self.server = server
        self.committed = {}  # account: [available, version]

    def begin(self):
        for partition in range(PARTITIONS):
            self.tool(f"begin {partition} 0")

    def commit(self, account, available, count=1):
        self.tool(f"commit {account} {available} {count}")
        for i in range(count):
            one = self.committed.setdefault(account + i * PARTITIONS, ["", 0])
            one[0] = str(available)
            one[1] += 1

    def wait(self, timeout_s=30):
        self.tool(f"wait {timeout_s * 1000}")

    def differences(self):
        accounts = list(self.committed)
        pipe = self.server.client.pipeline(transaction=False)
        for account in accounts:
            pipe.hmget(f"balance:{{{account}}}:USDT", "available", "version")
        return [(account, found, self.committed[account])
                for account, found in zip(accounts, pipe.execute(), strict=True)
                if found != [self.committed[account][0], str(self.committed[account][1])]]

    def is_equal(self):
        try:
            return not self.differences()
        except (redis.ConnectionError, redis.BusyLoadingError):
            return False

    def assert_equal(self):
        assert self.differences() == []


@pytest.fixture
def world(make_tool, server):
    world = World(make_tool("publisher", server.port), server)
    for partition in range(PARTITIONS):
        world.commit(PARTITIONS + partition, "1.25", 500)
    world.begin()
    world.wait()
    world.assert_equal()
    return world


def test_commits_arrive(world):
    for i in range(20):
        world.commit(PARTITIONS + i % PARTITIONS, i, 100)
    world.wait()
    world.assert_equal()
    assert world.tool.stats()["failed"] == 0


def test_killed_and_restarted_server_is_filled(world, server):
    server.kill()
    world.commit(4, "7", 100)
    server.start()
    world.wait()
    eventually(world.is_equal, what="Redis is filled")
    assert world.tool.stats()["rebuilds"] >= PARTITIONS


def test_emptied_server_is_filled(world, server):
    server.client.flushall()
    eventually(world.is_equal, what="Redis is filled")
    world.wait()


def test_restart_from_an_old_dump_is_filled(world, server):
    """Keys and markers are all there, but of yesterday."""
    server.client.save()
    world.commit(4, "7", 500)
    world.wait()
    server.kill()
    server.start()
    assert world.server.client.get("ledgerd:default:complete:0").startswith(COMPLETE)
    eventually(world.is_equal, what="Redis is filled")


def test_demoted_and_promoted_server_is_filled(world, server, make_server):
    """The connection is never broken; the data is that of an empty master."""
    other = make_server()
    server.client.replicaof("127.0.0.1", other.port)
    eventually(lambda: server.client.info("replication")["master_link_status"] == "up")
    server.client.replicaof("no", "one")
    eventually(world.is_equal, what="Redis is filled")


def test_forgotten_scripts_do_not_matter(world, server):
    for i in range(20):
        server.client.script_flush()
        world.commit(4 + i % PARTITIONS, i, 50)
    world.wait()
    world.assert_equal()
    assert world.tool.stats()["rebuilds"] == PARTITIONS


def test_cut_connections_do_not_cause_rebuilds(world, server):
    for i in range(10):
        world.commit(4 + i % PARTITIONS, i, 500)
        server.client.client_kill_filter(_type="normal", skipme=True)
    world.wait()
    world.assert_equal()
    assert world.tool.stats()["rebuilds"] == PARTITIONS


def test_bad_key_holds_nothing_up(world, server):
    server.client.delete("balance:{4}:USDT")
    server.client.set("balance:{4}:USDT", "mine")
    server.client.delete("ledgerd:default:complete:1")
    server.client.lpush("ledgerd:default:complete:1", "mine")
    world.commit(4, "7", 10)
    world.commit(5, "8", 10)
    world.wait()
    world.assert_equal()
    eventually(lambda: any("another type" in line for line in world.tool.log), what="it is told")


def test_stop_writes_what_waits(world):
    world.commit(4, "9", 500)
    assert world.tool("stop 10000") == "1"
    world.assert_equal()


def test_next_owner_has_little_to_do(world, server, make_tool):
    """What is complete is not written again: the marker is still good, and so is the offset."""
    stats = world.tool.stats()
    for partition in range(PARTITIONS):
        offset = world.tool(f"offset {partition}")
        world.tool(f"end {partition}")
        assert world.tool(f"begin {partition} {offset}") == "0"
    world.commit(4, "3", 5)
    world.wait()
    world.assert_equal()
    assert world.tool.stats()["published"] == stats["published"] + 5
    assert world.tool.stats()["rebuilds"] == stats["rebuilds"]


def test_everything_at_random(world, server):
    seed = int(os.environ.get("SEED", time.time_ns() % 10**9))
    print(f"SEED={seed}")
    dice = random.Random(seed)

    def kill():
        server.kill()
        time.sleep(dice.random() / 5)
        server.start()

    def hang():
        with server.stopped():
            time.sleep(dice.random())

    faults = [kill, hang, lambda: server.client.flushall(), lambda: server.client.script_flush(),
              lambda: server.client.client_kill_filter(_type="normal", skipme=True)]
    for i in range(60):
        for _ in range(dice.randrange(6)):
            account = PARTITIONS + dice.randrange(400)
            world.commit(account, i, dice.randrange(1, 100))
        if dice.random() < 0.3:
            dice.choice(faults)()
        time.sleep(dice.random() / 20)
    world.wait(60)
    eventually(world.is_equal, what="Redis is equal")
