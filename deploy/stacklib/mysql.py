"""MariaDB, or MySQL in its place: every commit is on disk before it is acknowledged.

The server's administrator is the person who started it, through the socket and without a
password; nobody else gets in that way. The user `ledger` logs in with a password, by TCP or by
the socket, and owns the database `ledger` and all whose names begin with `ledger_`.
"""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import mysql_server, service
from .errors import StackError

SOCKET_PATH_MAX = 107

FURNISH = """
CREATE DATABASE IF NOT EXISTS {database};
CREATE USER IF NOT EXISTS '{user}'@'%';
ALTER USER '{user}'@'%' IDENTIFIED BY '{password}';
GRANT ALL ON {database}.* TO '{user}'@'%';
GRANT ALL ON `{database}\\_%`.* TO '{user}'@'%';
"""


class MySQL(service.Service):
    name = "mysql"
    port_offset = 3306
    user = "ledger"
    database = "ledger"

    @property
    def server(self):
        """Its programs, and what is its own of options."""
        return mysql_server.find(self.stack.settings.mysql_server)

    @property
    def admin(self):
        return pwd.getpwuid(os.getuid()).pw_name

    @property
    def password_file(self):
        return self.dir / "password"

    @property
    def password(self):
        return self.password_file.read_text()

    @property
    def socket(self):
        """In the stack's folder; in one below /tmp if that has too long a name for a socket."""
        folder = Path(self.socket_note.read_text()) if self.socket_note.exists() else self.dir
        return folder / "mysql.sock"

    @property
    def socket_note(self):
        """Holds the name of the folder below /tmp, if there is one."""
        return self.dir / "socket-folder"

    @property
    def config_file(self):
        return self.dir / "my.cnf"

    # What Service asks for.

    def missing(self):
        if self.data.exists() and not (self.data / self.server.owned).exists():
            return [f"{self.data} was made by another server than --mysql-server "
                    f"{self.stack.settings.mysql_server}: name that one, or choose another --dir"]
        return self.server.missing()

    def prepare(self):
        (self.dir / "tmp").mkdir(exist_ok=True)
        self.make_socket_folder()
        if not self.data.exists():
            with service.complete(self.data) as fresh:
                self.install(fresh)
        self.write_config(self.config_file)

    def command(self):
        return [*self.server.server(), f"--defaults-file={self.config_file}"]

    def config(self):
        settings = self.stack.settings
        config = {
            "user": self.admin,
            "bind-address": "127.0.0.1",
            "port": self.port,
            "socket": self.socket,
            "datadir": self.data,
            "tmpdir": self.dir / "tmp",
            "pid-file": self.dir / "mysql.pid",
            "skip-name-resolve": "ON",
            "character-set-server": "utf8mb4",
            "local-infile": "ON",
            "max-connections": 500,
            "max-allowed-packet": "64M",
            "innodb-flush-log-at-trx-commit": 1,
            "innodb-buffer-pool-size": settings.mysql_pool,
            **self.server.options,
            **(self.server.binlog if settings.mysql_binlog else self.server.no_binlog),
            **settings.mysql_options,
        }
        return "[mysqld]\n" + "".join(map(config_line, config.items()))

    def answers(self):
        try:
            return self.client("SELECT 1", timeout=5).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def furnish(self):
        if not self.password_file.exists():
            self.make_password()
        self.sql(FURNISH.format(user=self.user, database=self.database, password=self.password))

    def tidy(self):
        if self.socket_note.exists():
            shutil.rmtree(self.socket.parent, ignore_errors=True)
            self.socket_note.unlink()

    # What only MySQL has.

    def sql(self, text, database=""):
        """Runs statements as the administrator; the rows as lines, the columns between tabs."""
        done = self.client(text, database)
        if done.returncode != 0:
            raise StackError(f"mysql: {done.stderr.strip().splitlines()[-1]}")
        return done.stdout

    def client(self, text, database="", timeout=None):
        argv = [*self.tool(), "--batch", "--skip-column-names", "--connect-timeout=2",
                f"--database={database}"]
        return subprocess.run(argv, input=text, text=True, capture_output=True, check=False,
                              timeout=timeout)

    def tool(self, name=""):
        """The command line of the administrator's client, or of a companion of it: "dump"."""
        return [*self.server.tool(name), f"--socket={self.socket}", f"--user={self.admin}"]

    # Data, password and socket.

    def install(self, data):
        self.say("creating the data folder")
        self.server.install(lambda argv: self.run_tool(argv, "cannot create its data"), data,
                            self.admin)

    def make_password(self):
        """Complete or not there at all, and nobody else's to read at any moment."""
        fresh = self.password_file.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_urlsafe(18))
        fresh.replace(self.password_file)

    def make_socket_folder(self):
        fits = len(str(self.dir / "mysql.sock")) <= SOCKET_PATH_MAX
        mine = self.socket.parent.is_dir() and self.socket.parent.stat().st_uid == os.getuid()
        if not fits and not (mine and self.socket_note.exists()):
            self.socket_note.write_text(tempfile.mkdtemp(prefix="stack-mysql-", dir="/tmp"))


def config_line(option):
    name, value = option
    return f'{name}="{value}"\n' if value != "" else f"{name}\n"
