"""A TCP proxy that goes wrong when it is told to.

    proxy.py TARGET_PORT        a process of its own; Proxy starts one and talks to it

It listens on a port of its own on the loopback and connects each client with TARGET_PORT. Orders
come as lines of JSON on standard input, each is answered by a line; the end of the input ends it:

    {"mode": "pass"}                      everything is forwarded
    {"mode": "cut"}                       all connections are reset, new ones as soon as they come
    {"mode": "delay", "delay_s": 0.2}     each piece waits that long, in both directions
    {"mode": "half_open", "deaf": [...]}  what goes that way ("requests", "answers") is swallowed,
                                          and nobody is told that the other side has closed; with
                                          "share": 0.5 on half of the connections, by chance, and on
                                          no new one
    {"target": 3307}                      another server from now on; old connections are reset

A connection that was half open once stays so for ever: it has lost bytes. Its side to the server
stays open for a while after the client has gone, as behind a broken network, with all its locks.
"""

import asyncio
import contextlib
import json
import logging
import random
import socket
import struct
import subprocess
import sys
import threading

PIECE_BYTES = 65536
FORGOTTEN_S = 15  # then the server's side of a half-open connection is reset
RESET = struct.pack("ii", 1, 0)
WAYS = ("requests", "answers")


class Link:
    """One client's connection, and the one to the server; none if nobody shall answer."""

    def __init__(self, client, server=None):
        self.client = client
        self.server = server
        self.deaf = frozenset()

    def reset(self):
        for stream in filter(None, (self.client, self.server)):
            reset(stream)


def reset(writer):
    with contextlib.suppress(OSError, AttributeError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


class Relay:
    """The process's side."""

    def __init__(self, target):
        self.target = target
        self.mode = "pass"
        self.delay_s = 0
        self.deaf = frozenset()
        self.links = set()

    async def accept(self, reader, writer):
        if self.mode == "cut":
            return reset(writer)
        link = Link(writer)
        self.links.add(link)
        try:
            await self.connect(link, reader)
        except OSError:
            pass  # the server is away, and the client is told so by a reset
        finally:
            self.links.discard(link)
            link.reset()

    async def connect(self, link, reader):
        if self.mode == "half_open":
            link.deaf = frozenset(WAYS)
            return await self.pump(link, reader, None, "requests")
        answers, link.server = await asyncio.open_connection("127.0.0.1", self.target)
        pumps = {asyncio.ensure_future(self.pump(link, reader, link.server, "requests")),
                 asyncio.ensure_future(self.pump(link, answers, link.client, "answers"))}
        _, others = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        if link.deaf:
            _, others = await asyncio.wait(others, timeout=FORGOTTEN_S)
        for pump in others:
            pump.cancel()

    async def pump(self, link, reader, writer, way):
        with contextlib.suppress(OSError):
            while piece := await reader.read(PIECE_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if way not in link.deaf:
                    writer.write(piece)
                    await writer.drain()

    def obey(self, order):
        if "target" in order:
            self.target = order["target"]
        else:
            self.mode = order["mode"]
            self.delay_s = order.get("delay_s", 0)
        if "target" in order or self.mode == "cut":
            for link in list(self.links):
                link.reset()
        if self.mode == "half_open":
            self.swallow(frozenset(order["deaf"]), order.get("share", 1))

    def swallow(self, ways, share):
        for link in self.links:
            if random.random() < share:
                link.deaf |= ways
        if share < 1:
            self.mode = "pass"

    def read_orders(self, loop):
        """A thread's: until the input ends."""
        for line in sys.stdin:
            loop.call_soon_threadsafe(self.obey, json.loads(line))
            print("done", flush=True)
        loop.call_soon_threadsafe(loop.stop)


def serve(target):
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    relay = Relay(target)
    server = loop.run_until_complete(asyncio.start_server(relay.accept, "127.0.0.1", 0))
    print(server.sockets[0].getsockname()[1], flush=True)
    threading.Thread(target=relay.read_orders, args=(loop,), daemon=True).start()
    loop.run_forever()


class Proxy:
    """The other side: starts the process, and gives it orders."""

    def __init__(self, target):
        self.process = subprocess.Popen([sys.executable, __file__, str(target)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.lock = threading.Lock()
        self.port = int(self.process.stdout.readline())

    def order(self, **order):
        with self.lock:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
            assert self.process.stdout.readline(), "the proxy has died"

    def heal(self):
        self.order(mode="pass")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
