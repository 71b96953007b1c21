#!/usr/bin/env python3
"""Runs a test program with a database server of its own.

    with_mysql.py PROGRAM [ARGUMENT...]

A private MariaDB (deploy/stack), or MySQL if STACK_MYSQL_SERVER says so, is started in a temporary
folder and named to the program in LEDGERD_TEST_MYSQL_HOST, _PORT, _USER and _PASSWORD.  If
LEDGERD_TEST_MYSQL_PORT is set already, that server is used and nothing is started.  Its user needs
all rights; the tests make databases called ledger_test_... and drop them.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy"))


def run_with_private_server(argv):
    from stack import Stack, free_port_base

    with tempfile.TemporaryDirectory(prefix="ledgerd-test-") as folder:
        stack = Stack(folder, port_base=free_port_base(), mysql_pool="256M", need_free="1G")
        try:
            stack.start("mysql")
            mysql = stack.mysql
            mysql.sql(f"GRANT ALL ON *.* TO '{mysql.user}'@'%'")
            env = {
                **os.environ,
                "LEDGERD_TEST_MYSQL_HOST": "127.0.0.1",
                "LEDGERD_TEST_MYSQL_PORT": str(mysql.port),
                "LEDGERD_TEST_MYSQL_USER": mysql.user,
                "LEDGERD_TEST_MYSQL_PASSWORD": mysql.password,
            }
            return subprocess.run(argv, env=env, check=False).returncode
        finally:
            stack.stop("mysql")


if __name__ == "__main__":
    if "LEDGERD_TEST_MYSQL_PORT" in os.environ:
        os.execv(sys.argv[1], sys.argv[1:])
    sys.exit(run_with_private_server(sys.argv[1:]))
