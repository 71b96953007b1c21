"""Redis: a cache without persistence, unless the append-only file is asked for.

Debian's redis-tools holds the server under another name: redis-check-rdb is the same program and
decides by the name it is called with, which a link gives it. So the server is had without the
package that would start one at boot.
"""

import socket

from . import service


class Redis(service.Service):
    name = "redis"
    port_offset = 6379

    def missing(self):
        if service.program("redis-server", "redis-check-rdb"):
            return []
        return [f"no Redis (redis-server, or redis-check-rdb of redis-tools): {service.INSTALL}"]

    def prepare(self):
        self.data.mkdir(exist_ok=True)
        self.remove_half_written()
        self.link_server()
        self.write_config(self.dir / "redis.conf")

    def remove_half_written(self):
        """Redis writes snapshots and new append-only files beside the old ones and renames them;
        what a crash left is never read again."""
        for path in (*self.data.glob("temp-*"), *self.data.glob("appendonlydir/temp-*")):
            path.unlink()

    def link_server(self):
        self.server.unlink(missing_ok=True)
        self.server.symlink_to(service.program("redis-server", "redis-check-rdb"))

    @property
    def server(self):
        return self.dir / "redis-server"

    def command(self):
        return [str(self.server), str(self.dir / "redis.conf")]

    def config(self):
        settings = self.stack.settings
        config = {
            "bind": "127.0.0.1",
            "port": self.port,
            "dir": f'"{self.data}"',
            "daemonize": "no",
            "save": '""',
            "appendonly": "yes" if settings.redis_appendonly else "no",
            **settings.redis_options,
        }
        return "".join(f"{key} {value}\n" for key, value in config.items())

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False
