"""Two servers, MariaDB or MySQL: a primary, and an asynchronous replica that may be promoted.

Each is the `mysql` of a stack of its own, on a disk of its own. Binary logs lie elsewhere, since
a server whose binary log cannot be written waits for a minute at a time; what is filled is the
data's disk.

A replica is made from a copy of the data of the primary, which is stopped for it. So it costs a
short outage, and no time that grows with the log.
"""

import shutil
import time

import replication
from disk import Disk
from stack import Stack, free_port_base
from stacklib.mysql import MySQL
from stacklib.ports import is_free

DISK_BYTES = 24 << 30  # of which only what is used is taken


class Databases:
    def __init__(self, folder, **settings):
        """`settings` are for the first stack, which has Kafka and Redis, too."""
        base = free_port_base()
        self.stacks = [make_stack(folder / "first", 1, base, **settings),
                       make_stack(folder / "second", 2, base_above(base))]
        self.disks = [Disk(stack.mysql.dir, DISK_BYTES) for stack in self.stacks]
        self.primary, self.standby = self.stacks
        self.replica_errors = []

    @property
    def disk_problem(self):
        return " ".join(filter(None, (disk.problem for disk in self.disks)))

    @property
    def disk(self):
        """The primary's."""
        return self.disks[self.stacks.index(self.primary)]

    def start(self):
        for stack in self.stacks:
            stack.check_folder()
            stack.keep_settings()
        self.primary.mysql.prepare()
        self.primary.mysql.make_password()
        self.make_replica()

    def make_replica(self):
        """From a copy of the primary, whose binary log begins anew."""
        old, new = self.primary.mysql, self.standby.mysql
        self.primary.stop("mysql")
        self.standby.stop("mysql")
        shutil.rmtree(new.data, ignore_errors=True)
        shutil.copytree(old.data, new.data,
                        ignore=shutil.ignore_patterns(*replication.words_of(old).own_files))
        shutil.copy2(old.password_file, new.password_file)
        for stack in self.stacks:
            shutil.rmtree(binlog_folder(stack), ignore_errors=True)
            binlog_folder(stack).mkdir()
        self.primary.start("mysql")
        self.standby.start("mysql")
        replication.follow(old, new)

    def promote(self, fall_behind, behind_s):
        """The replica stops to read (or to apply) what the primary commits, the primary dies, and
        the replica takes its place as it is. The old primary's data is of no use any more."""
        self.note_replica_errors()
        replica = self.standby.mysql
        words = replication.words_of(replica)
        replica.sql(words.stop.format(thread=fall_behind))
        time.sleep(behind_s)
        self.primary.kill("mysql")
        replica.sql(words.promote)
        self.primary, self.standby = self.standby, self.primary

    def note_replica_errors(self):
        """One that stopped by itself would be promoted far behind, and nobody would know why."""
        self.replica_errors += replication.errors(self.standby.mysql)

    def close(self):
        for stack in self.stacks:
            stack.stop()
        for disk in self.disks:
            disk.close()


def make_stack(folder, number, base, **settings):
    stack = Stack(folder, port_base=base, need_free="1G", mysql_pool="128M", mysql_binlog=True,
                  timeout_s=300, **settings)
    stack.settings.mysql_options = options(stack, number)
    return stack


def base_above(base):
    """Of the second stack only MySQL is used."""
    return next(other for other in range(base + 10, base + 1000, 10)
                if is_free(other + MySQL.port_offset))


def options(stack, number):
    """What makes a server a primary and a replica."""
    return {"server-id": number, "log-bin": str(binlog_folder(stack) / "binlog"),
            "max-binlog-size": "64M", stack.mysql.server.redo_option: "64M",
            "relay-log": "relay", **replication.words_of(stack.mysql).options}


def binlog_folder(stack):
    return stack.dir / "binlog"
