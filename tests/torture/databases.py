"""Two MariaDB servers: the primary, and an asynchronous replica that may be promoted.

Each is the `mysql` of a stack of its own, on a disk of its own. Binary logs lie elsewhere, since
a server whose binary log cannot be written waits for a minute at a time; what is filled is the
data's disk.

A replica is made from a copy of the data of the primary, which is stopped for it. So it costs a
short outage, and no time that grows with the log.
"""

import shutil
import time

from disk import Disk
from stack import Stack, free_port_base
from stacklib.mysql import MySQL
from stacklib.ports import is_free

DISK_BYTES = 24 << 30  # of which only what is used is taken
REPLICATION_USER = "replication"


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
        shutil.copytree(old.data, new.data)
        shutil.copy2(old.password_file, new.password_file)
        for stack in self.stacks:
            shutil.rmtree(binlog_folder(stack), ignore_errors=True)
            binlog_folder(stack).mkdir()
        self.primary.start("mysql")
        old.sql(f"CREATE USER IF NOT EXISTS {REPLICATION_USER}@'%' IDENTIFIED BY 'replication'; "
                f"GRANT REPLICATION SLAVE ON *.* TO {REPLICATION_USER}@'%'")
        file, position = old.sql("SHOW MASTER STATUS").split()[:2]
        self.standby.start("mysql")
        new.sql(f"CHANGE MASTER TO master_host='127.0.0.1', master_port={old.port}, "
                f"master_user='{REPLICATION_USER}', master_password='replication', "
                f"master_connect_retry=1, master_log_file='{file}', master_log_pos={position}; "
                "START SLAVE")

    def promote(self, fall_behind, behind_s):
        """The replica stops to read (or to apply) what the primary commits, the primary dies, and
        the replica takes its place as it is. The old primary's data is of no use any more."""
        self.note_replica_errors()
        self.standby.mysql.sql(f"STOP SLAVE {fall_behind}_THREAD")
        time.sleep(behind_s)
        self.primary.kill("mysql")
        self.standby.mysql.sql("STOP SLAVE; RESET SLAVE ALL; RESET MASTER")
        self.primary, self.standby = self.standby, self.primary

    def note_replica_errors(self):
        """One that stopped by itself would be promoted far behind, and nobody would know why."""
        status = self.standby.mysql.sql("SHOW ALL SLAVES STATUS\\G")
        self.replica_errors += [line.strip() for line in status.splitlines()
                                if "Last_SQL_Error:" in line and line.split(":", 1)[1].strip()]

    def close(self):
        for stack in self.stacks:
            stack.stop()
        for disk in self.disks:
            disk.close()


def make_stack(folder, number, base, **settings):
    return Stack(folder, port_base=base, need_free="1G", mysql_pool="128M", timeout_s=300,
                 mysql_options=options(folder, number), **settings)


def base_above(base):
    """Of the second stack only MySQL is used."""
    return next(other for other in range(base + 10, base + 1000, 10)
                if is_free(other + MySQL.port_offset))


def options(folder, number):
    """What makes a server a primary and a replica."""
    return {"server-id": number, "log-bin": str(binlog_folder_in(folder) / "binlog"),
            "binlog-format": "ROW", "sync-binlog": 1, "max-binlog-size": "64M",
            "innodb-log-file-size": "64M", "skip-slave-start": "ON", "slave-net-timeout": 5,
            "relay-log": "relay"}


def binlog_folder_in(folder):
    return folder / "binlog"


def binlog_folder(stack):
    return binlog_folder_in(stack.dir)
