"""A private stack for the quick start, the tests and the benchmarks: Kafka, MariaDB and Redis.

    from stack import Stack
    stack = Stack("/tmp/mine", port_base=20000, mysql_pool="256M")
    stack.start()                               # all three at once; returns when they answer
    stack.kafka.create_topic("balance-events", 4)
    stack.kill("mysql"); stack.start("mysql")
    stack.stop()

Everything lives in one folder, and all servers listen on the loopback only, each at its usual
port number plus `port_base`. What is started outlives the program that started it; another one
with the same folder finds it again. Settings given once hold until they are given anew: they are
kept in stack.json. deploy/stack is the same as a command; deploy/README.md tells how to use it.
"""

import contextlib
import fcntl
import json
import os
import re
import shlex
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from stacklib import ports
from stacklib.errors import StackError
from stacklib.kafka import Kafka
from stacklib.mysql import MySQL
from stacklib.redis import Redis

__all__ = ["SERVICES", "Settings", "Stack", "StackError", "free_port_base"]

SERVICES = (Kafka, MySQL, Redis)
PORT_BASE_MAX = 65535 - Kafka.port_offset - 1
FREE_PORT_BASES = range(11000, 23000, 10)  # above, ports are handed out to outgoing connections
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def option(default, text, metavar=None):
    """A setting with its default and what the command line's help says of it."""
    kind = "default_factory" if callable(default) else "default"
    return field(**{kind: default}, metadata={"help": text, "metavar": metavar})


@dataclass
class Settings:
    """All that can be chosen. The command line's options of `start` are made from this."""

    port_base: int = option(10000, "is added to each server's usual port (Kafka 9092 and 9093, "
                            "MySQL 3306, Redis 6379)", "N")
    cache: str = option("", "folder for Kafka's jars, which stacks may share; default: "
                        "$STACK_CACHE, or DIR/cache", "FOLDER")
    kafka_heap: str = option("1G", "Kafka's Java heap", "SIZE")
    mysql_server: str = option("", "'mariadb', or a folder that deploy/install-mysql filled: MySQL; "
                               "default: $STACK_MYSQL_SERVER, or mariadb", "mariadb|FOLDER")
    mysql_pool: str = option("1G", "the database's buffer pool", "SIZE")
    mysql_binlog: bool = option(False, "the database with a binary log, synchronised at every "
                                "commit")
    redis_appendonly: bool = option(False, "Redis with its append-only file")
    kafka_options: dict = option(dict, "one more server option, repeatable; '' drops all", "K=V")
    mysql_options: dict = option(dict, "one more server option, repeatable; '' drops all", "K=V")
    redis_options: dict = option(dict, "one more server option, repeatable; '' drops all", "K=V")
    need_free: str = option("3G", "refuse to start with less disk space than this", "SIZE")
    timeout_s: int = option(120, "how long a server may take until it answers", "S")

    @classmethod
    def load(cls, path, changes):
        """The settings kept in `path`, with changes; one that is None changes nothing."""
        kept = json.loads(path.read_text()) if path.exists() else {}
        known = {one.name for one in fields(cls)}
        given = {name: value for name, value in changes.items() if value is not None}
        return cls(**{name: value for name, value in {**kept, **given}.items()
                      if name in known or name in given})

    def check(self):
        if not 0 <= self.port_base <= PORT_BASE_MAX:
            raise StackError(f"--port-base {self.port_base}: must be from 0 to {PORT_BASE_MAX}")
        for name in ("kafka_heap", "mysql_pool", "need_free"):
            size_bytes(getattr(self, name))


def free_port_base():
    """One whose ports are all free now; different programs begin to look at different places."""
    offsets = (Kafka.port_offset, Kafka.port_offset + 1, MySQL.port_offset, Redis.port_offset)
    first = os.getpid() % len(FREE_PORT_BASES)
    for base in (*FREE_PORT_BASES[first:], *FREE_PORT_BASES[:first]):
        if all(ports.is_free(base + offset) for offset in offsets):
            return base
    raise StackError(f"no free ports in {FREE_PORT_BASES}: stop some of the servers of others")


def size_bytes(text):
    match = re.fullmatch(r"(\d+)([KMG]?)", text)
    if match is None:
        raise StackError(f"{text!r} is no size: write bytes, or a number with K, M or G")
    return int(match[1]) * UNITS[match[2]]


class Stack:
    """The three servers that live in `folder`. `say` gets one line for everything that happens."""

    def __init__(self, folder, say=lambda line: None, **settings):
        self.dir = Path(folder).absolute()
        self.settings_file = self.dir / "stack.json"
        self.say = say
        self.interrupted = threading.Event()
        self.settings = Settings.load(self.settings_file, settings)
        self.settings.mysql_server = self.find_mysql_server()
        self.cache = self.find_cache()
        self.kafka = Kafka(self)
        self.mysql = MySQL(self)
        self.redis = Redis(self)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def services(self):
        return {cls.name: getattr(self, cls.name) for cls in SERVICES}

    # Each takes names of services; without any it means all.

    def start(self, *names):
        """Returns when all answer, whatever state they were in. Raises StackError, which tells
        everything that is wrong at once; what did start is left running."""
        chosen = self.chosen(names)
        self.check_folder()
        with self.lock():
            self.check(chosen)
            self.keep_settings()
            self.in_parallel([service.start for service in chosen])

    def stop(self, *names):
        """Orderly, and only what this stack started."""
        if not self.settings_file.exists():
            return
        with self.lock():
            self.in_parallel([service.stop for service in self.chosen(names)])

    def restart(self, *names):
        self.stop(*names)
        self.start(*names)

    def kill(self, *names):
        self.each(names, "kill")

    def pause(self, *names):
        self.each(names, "pause")

    def resume(self, *names):
        self.each(names, "resume")

    def states(self):
        return {name: service.state for name, service in self.services.items()}

    def environment(self):
        """What ledgerd needs to find the servers, and what a person needs to look into them."""
        kafka, mysql, redis = self.kafka, self.mysql, self.redis
        return {
            "LEDGERD_KAFKA_BOOTSTRAP_SERVERS": kafka.address,
            "LEDGERD_MYSQL_HOST": "127.0.0.1",
            "LEDGERD_MYSQL_PORT": mysql.port,
            "LEDGERD_MYSQL_USER": mysql.user,
            "LEDGERD_MYSQL_PASSWORD_FILE": mysql.password_file,
            "LEDGERD_MYSQL_DATABASE": mysql.database,
            "LEDGERD_REDIS_HOST": "127.0.0.1",
            "LEDGERD_REDIS_PORT": redis.port,
            "STACK_DIR": self.dir,
            "STACK_MYSQL_SOCKET": mysql.socket,
            "STACK_MYSQL_ADMIN": mysql.admin,
        }

    def shell_assignments(self):
        if not self.settings_file.exists():
            raise StackError(f"there is no stack in {self.dir}: `deploy/stack start` makes one")
        return [f"export {name}={shlex.quote(str(value))}"
                for name, value in self.environment().items()]

    # How it is done.

    def find_cache(self):
        named = self.settings.cache or os.environ.get("STACK_CACHE")
        return Path(named or self.dir / "cache").absolute()

    def find_mysql_server(self):
        named = self.settings.mysql_server or os.environ.get("STACK_MYSQL_SERVER") or "mariadb"
        return named if named == "mariadb" else str(Path(named).absolute())

    def chosen(self, names):
        unknown = [name for name in names if name not in self.services]
        if unknown:
            raise StackError(f"no service {', '.join(unknown)}: there are "
                             f"{', '.join(self.services)}")
        return [self.services[name] for name in names or self.services]

    def each(self, names, action):
        for service in self.chosen(names):
            getattr(service, action)()

    def check_folder(self):
        if not re.fullmatch(r"[\w./@~+:=-]+", str(self.dir), re.ASCII):
            raise StackError(f"{self.dir}: the servers' configuration files cannot hold this "
                             "name; choose a --dir of plain letters, digits and ./@~+:=_-")
        self.dir.mkdir(parents=True, exist_ok=True)

    def check(self, chosen):
        """Names everything that would keep the start from working, before anything is started."""
        self.settings.check()
        self.check_moved_ports()
        down = [service for service in chosen if not service.pid]
        problems = self.disk_problems() if down else []
        for service in chosen:
            problems += service.problems()
        if problems:
            raise StackError("\n".join(problems))

    def check_moved_ports(self):
        before = Settings.load(self.settings_file, {}).port_base
        running = [name for name, service in self.services.items() if service.pid]
        if before != self.settings.port_base and running:
            raise StackError(f"{', '.join(running)} in {self.dir} runs with --port-base {before}: "
                             "`deploy/stack stop` first, or choose another --dir")

    def disk_problems(self):
        disk = os.statvfs(self.dir)
        free = disk.f_bavail * disk.f_frsize
        if free >= size_bytes(self.settings.need_free):
            return []
        return [f"only {free >> 20} MB are free in {self.dir} and a stack needs "
                f"{self.settings.need_free}: free some space, choose another --dir, or lower "
                "--need-free"]

    def keep_settings(self):
        kept = asdict(self.settings) | {"cache": str(self.cache)}
        new = self.settings_file.with_suffix(".new")
        new.write_text(json.dumps(kept, indent=2) + "\n")
        new.replace(self.settings_file)

    def in_parallel(self, actions):
        """Runs all to their end; then what went wrong, if anything, as one."""
        self.interrupted.clear()
        with ThreadPoolExecutor() as pool:
            futures = [pool.submit(action) for action in actions]
            try:
                failures = list(filter(None, (future.exception() for future in futures)))
            except KeyboardInterrupt:
                self.interrupted.set()
                raise
        for failure in failures:
            if not isinstance(failure, StackError):
                raise failure
        if failures:
            raise StackError("\n".join(map(str, failures)))

    @contextlib.contextmanager
    def lock(self):
        """One start or stop at a time in a folder."""
        with open(self.dir / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.say(f"waiting for another command that works on {self.dir}")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
