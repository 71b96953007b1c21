"""The programs of the database server: the machine's MariaDB, or MySQL in a folder of its own.

Both classes offer the same. `missing` says what keeps them from being used, `server` and `tool`
begin a command line, `install` fills an empty data folder in which `admin` logs in through the
socket, without a password, and nobody else does. `options` and `binlog` are for the server's
configuration, `redo_option` is the name of the one for the size of its redo log; `owned` is a file
that the data of this kind of server have.
"""

from pathlib import Path

from . import service


class MariaDB:
    title = "MariaDB"
    owned = "aria_log_control"
    redo_option = "innodb-log-file-size"
    options = {redo_option: "256M"}
    binlog = {"log-bin": "binlog", "binlog-format": "ROW", "sync-binlog": 1, "server-id": 1}
    no_binlog = {}

    def missing(self):
        names = ("mariadbd", "mariadb-install-db", "mariadb")
        absent = [name for name in names if not service.program(name)]
        return [f"no MariaDB ({', '.join(absent)}): {service.INSTALL}"] if absent else []

    def server(self):
        return [service.program("mariadbd") or "mariadbd"]

    def tool(self, name=""):
        """The client, or one of its companions: "dump"."""
        name = f"mariadb-{name}".rstrip("-")
        return [service.program(name) or name, "--no-defaults"]

    def install(self, run_tool, data, admin):
        """With a folder for temporary tables of its own: a server that starts elsewhere on the
        machine deletes what it finds of them in the common one."""
        run_tool([service.program("mariadb-install-db"), "--no-defaults", f"--datadir={data}",
                  f"--tmpdir={data.parent / 'tmp'}", f"--user={admin}", "--skip-test-db",
                  "--skip-name-resolve", "--auth-root-authentication-method=socket",
                  f"--auth-root-socket-user={admin}",
                  "--innodb-flush-log-at-trx-commit=0", "--innodb-fast-shutdown=0"])


# While MySQL makes its data it has no plugins, so that ALTER USER would not know this one.
ADMIN = """
UPDATE mysql.user SET plugin = 'auth_socket', authentication_string = '' WHERE User = 'root';
"""
RENAME = "RENAME USER 'root'@'localhost' TO '{admin}'@'localhost';\n"


class MySQL:
    """What deploy/install-mysql made. Its programs need the folder's own C library, so its loader
    starts them; that needs no root, as a change of the root would."""

    title = "MySQL"
    owned = "mysql.ibd"
    redo_option = "innodb-redo-log-capacity"
    binlog = {"log-bin": "binlog", "sync-binlog": 1, "server-id": 1}
    no_binlog = {"disable-log-bin": ""}

    def __init__(self, folder):
        self.usr = Path(folder) / "usr"

    @property
    def options(self):
        return {"basedir": self.usr, "plugin-load-add": "auth_socket.so", "mysqlx": "OFF",
                "secure-file-priv": "NULL", self.redo_option: "512M"}

    def missing(self):
        if self.loader() and (self.usr / "sbin/mysqld").exists():
            return []
        return [f"no MySQL in {self.usr.parent}: `deploy/install-mysql {self.usr.parent}` fetches "
                "it, or --mysql-server mariadb"]

    def loader(self):
        return next(self.usr.glob("lib*/ld-linux*.so.*"), None)

    def run(self, program):
        libraries = next(self.usr.glob("lib/*/libc.so.6"), self.usr / "lib/none").parent
        return [str(self.loader()), "--library-path", str(libraries), str(self.usr / program)]

    def server(self):
        return self.run("sbin/mysqld")

    def tool(self, name=""):
        more = ["--set-gtid-purged=OFF"] if name == "dump" else []
        return [*self.run(f"bin/mysql{name}"), "--no-defaults", *more]

    def install(self, run_tool, data, admin):
        statements = data.parent / "admin.sql"
        statements.write_text(ADMIN + (RENAME.format(admin=admin) if admin != "root" else ""))
        run_tool([*self.server(), "--no-defaults", f"--basedir={self.usr}", f"--datadir={data}",
                  f"--user={admin}", "--initialize-insecure", f"--init-file={statements}",
                  "--disable-log-bin", "--innodb-flush-log-at-trx-commit=0"])
        statements.unlink()


def find(named):
    """`named` is "mariadb" or a folder."""
    return MariaDB() if named == "mariadb" else MySQL(named)
