"""What every benchmark needs: the programs, the private stack, a topic and a database of its own.

A bench begins with servers that were just started and with nothing of an earlier run in them, and
ends by stopping them, whatever happens. The commit is as durable as in production.
"""

import contextlib
import fcntl
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

from benchlib.errors import Failed
from benchlib.ledgerd import NO_CONFIG, Ledgerd
from stack import Stack, StackError, free_port_base

ROOT = Path(__file__).resolve().parents[2]
DIR_DEFAULT = ROOT / "build" / "bench"
BUILD_OPTIONS = ["-Dtests=disabled", "-Dwerror=false", "--buildtype=release", "-Ddebug=true"]
PROGRAMS = ("consumer/ledgerd", "bench/bench-ceiling", "bench/bench-watch", "bench/bench-poll",
            "bench/bench-codec", "bench/bench-row-locks")
TOPIC = "bench"
DATABASE = "ledger_bench"
GROWN_ROW_BYTES = 400  # of disk while an index is built, for growth

SHOWN_VARIABLES = (
    "innodb_flush_log_at_trx_commit", "innodb_buffer_pool_size", "innodb_log_file_size",
    "innodb_redo_log_capacity", "innodb_doublewrite", "innodb_flush_method", "log_bin", "sync_binlog", "innodb_io_capacity")


class Bench:
    """One benchmark's world. `screen` shows what it is doing."""

    def __init__(self, options, screen):
        self.options = options
        self.screen = screen
        self.dir = Path(options.dir).absolute()
        self.dir.mkdir(parents=True, exist_ok=True)
        self.build_dir = Path(options.build).absolute() if options.build else self.dir / "build"
        self.stack = Stack(self.dir / "stack", say=screen.passing,
                           cache=options.cache or self.shared_cache(), need_free="8G",
                           mysql_server=options.mysql_server, mysql_pool=options.pool,
                           mysql_binlog=options.binlog)
        self.stack.settings.mysql_options = {self.stack.mysql.server.redo_option: options.redo,
                                             "innodb-io-capacity": 2000,
                                             "innodb-io-capacity-max": 4000}
        if options.quick:
            self.stack.settings.need_free = "3G"
        elif options.what == "growth":
            self.stack.settings.need_free = f"{8 + (options.rows * GROWN_ROW_BYTES >> 30)}G"
        self.lock = None
        self.ledgerd = None
        self.children = []

    def __enter__(self):
        self.lock = open(self.dir / "lock", "w", encoding="ascii")  # held until we end
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed(f"another bench/run works in {self.dir}: wait for it, or choose another "
                         "--dir") from None
        return self

    def __exit__(self, *_):
        self.end_children()
        if not self.options.keep:
            self.screen.passing("stopping the servers")
            self.stack.stop()
            shutil.rmtree(self.dir / "stack", ignore_errors=True)
        self.screen.clear()

    @staticmethod
    def shared_cache():
        """Kafka's jars, which the quick start may have fetched."""
        return os.environ.get("STACK_CACHE") or str(ROOT / "build" / "stack" / "cache")

    # Programs.

    def build(self):
        if self.options.build:
            missing = [name for name in PROGRAMS if not (self.build_dir / name).exists()]
            if missing:
                raise Failed(f"{self.build_dir} has no {', '.join(missing)}: "
                             f"`ninja -C {self.build_dir}` makes them")
            return
        if not (self.build_dir / "build.ninja").exists():
            self.run_tool("meson", "setup", self.build_dir, ROOT, *BUILD_OPTIONS)
        self.run_tool("ninja", "-C", self.build_dir, *PROGRAMS)

    def run_tool(self, *argv):
        done = subprocess.run(list(map(str, argv)), text=True, capture_output=True, check=False)
        if done.returncode != 0:
            raise Failed(f"`{' '.join(map(str, argv))}` failed:\n{done.stdout[-3000:]}"
                         f"{done.stderr[-2000:]}")
        return done.stdout

    def program(self, name):
        return str(self.build_dir / name)

    def build_type(self):
        """As ledgerd was compiled: a debug build's figures are no figures."""
        path = self.build_dir / "meson-info" / "intro-buildoptions.json"
        with contextlib.suppress(OSError):
            text = path.read_text(encoding="utf-8")
            return re.search(r'"name": "buildtype", "value": "(\w+)"', text)[1]
        return "unknown"

    @property
    def environment(self):
        given = {name: str(value) for name, value in self.stack.environment().items()}
        clean = {name: value for name, value in os.environ.items()
                 if not name.startswith("LEDGERD_")}
        return clean | given | {
            "LEDGERD_LEDGER_NAME": "bench",
            "LEDGERD_KAFKA_TOPIC": TOPIC,
            "LEDGERD_MYSQL_DATABASE": DATABASE,
            "LEDGERD_REDIS_ENABLED": "true" if self.options.redis else "false",
            "LEDGERD_CONSUMER_BATCH_MAX_EVENTS": str(self.options.batch),
            "LEDGERD_CONSUMER_MEMORY_MAX": self.options.memory,
        }

    def spawn(self, name, *arguments, changes=None, **streams):
        """A child with the environment of ledgerd, and `changes` to it."""
        argv = [self.program(name), *map(str, arguments)]
        child = subprocess.Popen(argv, env=self.environment | (changes or {}),
                                 start_new_session=True,
                                 **{"stdin": subprocess.DEVNULL, "text": True} | streams)
        self.children.append(child)
        return child

    def end_children(self):
        for child in self.children:
            if child.poll() is None:
                child.terminate()
        for child in self.children:
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.children.clear()

    def command(self, *arguments, **streams):
        """A command of ledgerd, to its end; its standard output."""
        argv = [self.program("consumer/ledgerd"), *map(str, arguments), *NO_CONFIG]
        done = subprocess.run(argv, env=self.environment, text=True, capture_output=True,
                              check=False, **streams)
        if done.returncode != 0:
            raise Failed(f"`ledgerd {' '.join(map(str, arguments))}` ended with exit status "
                         f"{done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    # Servers.

    def start_stack(self):
        if not any(one.pid for one in self.stack.services.values()):
            self.stack.settings.port_base = free_port_base()
        self.stack.start()

    def restart_mysql(self):
        """So that no measurement pays for the pages that the one before left behind."""
        self.stack.restart("mysql")

    def new_database(self):
        self.stack.mysql.sql(f"DROP DATABASE IF EXISTS {DATABASE}; CREATE DATABASE {DATABASE}")
        self.restart_mysql()
        self.command("migrate")

    def new_topic(self, name=TOPIC):
        """An empty one, whatever there was of this name."""
        kafka = self.stack.kafka
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(StackError):  # it may have another number of partitions
                if kafka.create_topic(name, self.options.partitions):
                    return
            with contextlib.suppress(StackError):  # it goes away by and by
                kafka.delete_topic(name)
            if time.monotonic() > deadline:
                raise Failed(f"kafka did not delete the topic {name} within 60 s: see {kafka.log}")
            time.sleep(0.1)

    def empty_redis(self):
        with socket.create_connection(("127.0.0.1", self.stack.redis.port), 10) as connection:
            connection.sendall(b"FLUSHALL\r\n")
            connection.recv(64)

    def server_variables(self):
        names = ",".join(f"'{name}'" for name in SHOWN_VARIABLES)
        rows = self.stack.mysql.sql(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})")
        return dict(row.split("\t") for row in rows.splitlines())

    def versions(self):
        redis = self.run_tool(self.stack.redis.server, "--version")
        return {
            "ledgerd": self.version(),
            "mysql": self.stack.mysql.sql("SELECT VERSION()").strip(),
            "kafka": self.stack.kafka.version,
            "redis": re.search(r"v=(\S+)", redis)[1],
        }

    def version(self):
        return self.run_tool(self.program("consumer/ledgerd"), "--version").split()[-1]

    def server_pids(self):
        return {name: one.pid for name, one in self.stack.services.items()}

    # ledgerd.

    def produce(self, events, *arguments):
        options = self.options
        chosen = ["--accounts", options.accounts, "--decimals", options.decimals]
        if options.zipf:
            chosen += ["--zipf", options.zipf]
        if options.random_ids:
            chosen += ["--random-ids"]
        self.command("produce", "--generate", events, *chosen, *arguments)

    def start_ledgerd(self, number=1):
        """One that `ledgerd` names from now on."""
        self.ledgerd = Ledgerd(self, number)
        return self.ledgerd

    def stop_ledgerd(self):
        self.ledgerd.stop()
