"""Is a port of the loopback free, and if not, who has it? And one that is free."""

import errno
import itertools
import os
import random
import socket
from pathlib import Path

LISTEN = "0A"
SINGLE = range(10000, 14000)  # below those of a stack, and of outgoing connections
AHEAD = itertools.cycle(random.sample(SINGLE, len(SINGLE)))


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def free():
    """One for a program that will listen later: nobody gets it meanwhile just by connecting to
    something, and it is not given out again soon."""
    return next(port for port in AHEAD if is_free(port))


def owner(port):
    """'name (pid N)' of the process that listens on the port, or a guess why nobody is seen."""
    inodes = listening_inodes(port)
    if not inodes:
        return "a connection, or it is not allowed to you"
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if has_socket(pid, inodes):
            return f"{Path(f'/proc/{pid}/comm').read_text().strip()} (pid {pid})"
    return "a process of another user"


def listening_inodes(port):
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not os.path.exists(table):
            continue
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    return inodes


def has_socket(pid, inodes):
    try:
        fds = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    return any(link(f"/proc/{pid}/fd/{fd}") in inodes for fd in fds)


def link(path):
    try:
        return os.readlink(path)
    except OSError:
        return ""
