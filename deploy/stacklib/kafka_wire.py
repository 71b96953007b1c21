"""The few requests we send to Kafka ourselves.

Kafka's command-line tools take a second or two each to start Java; these take milliseconds and
need no library. The versions used are the newest without Kafka's "flexible" encoding; Kafka 2.4
to 4.x understand them. Only for one node: every request goes to the address given.
"""

import socket
import struct

from .errors import StackError

METADATA, CREATE_TOPICS, DELETE_TOPICS = (3, 4), (19, 4), (20, 3)
DELETE_RECORDS, CREATE_PARTITIONS = (21, 1), (37, 1)
TIMEOUT_MS = 30_000
NONE, TOPIC_EXISTS = 0, 36
ERRORS = {1: "offset out of range", 3: "unknown topic or partition", 5: "no leader yet",
          7: "timed out", 17: "invalid topic name", 37: "invalid number of partitions",
          40: "invalid configuration", 87: "policy violation"}


def string(text):
    data = text.encode()
    return struct.pack(">h", len(data)) + data


def array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


class Reader:
    """Takes an answer apart, from front to back."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def number(self, code):
        value, = struct.unpack_from(f">{code}", self.data, self.at)
        self.at += struct.calcsize(f">{code}")
        return value

    def int16(self):
        return self.number("h")

    def int32(self):
        return self.number("i")

    def int64(self):
        return self.number("q")

    def string(self):
        length = self.int16()
        if length < 0:
            return None
        self.at += length
        return self.data[self.at - length:self.at].decode()

    def array(self, item):
        return [item(self) for _ in range(self.int32())]


def request(port, kind, body, timeout_s=TIMEOUT_MS / 1000 + 5):
    """Sends one request on a connection of its own. OSError if nobody answers."""
    header = struct.pack(">hhi", *kind, 1) + string("stack")
    with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
        connection.sendall(struct.pack(">i", len(header + body)) + header + body)
        size, = struct.unpack(">i", receive(connection, 4))
        answer = Reader(receive(connection, size))
    answer.int32()  # the request's number again
    return answer


def receive(connection, size):
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionError("Kafka closed the connection")
        data += part
    return data


def metadata(port, topics=(), timeout_s=TIMEOUT_MS / 1000):
    """(ids of the brokers that serve, {topic: leaders by partition}); unknown topics left out."""
    body = array([string(topic) for topic in topics]) + b"\0"
    answer = request(port, METADATA, body, timeout_s)
    answer.int32()  # throttle time
    brokers = answer.array(read_broker)
    answer.string(), answer.int32()  # cluster id, controller id
    found = answer.array(read_topic)
    return brokers, {name: leaders for error, name, leaders in found if error == NONE}


def read_broker(answer):
    broker = answer.int32()
    answer.string(), answer.int32(), answer.string()  # host, port, rack
    return broker


def read_topic(answer):
    error, name = answer.int16(), answer.string()
    answer.number("?")  # is it internal
    return error, name, dict(answer.array(read_partition))


def read_partition(answer):
    answer.int16()
    partition, leader = answer.int32(), answer.int32()
    answer.array(Reader.int32), answer.array(Reader.int32)  # replicas, those in sync
    return partition, leader


def create_topic(port, name, partitions, configs):
    """True if it was made, False if there was one of that name."""
    pairs = [string(key) + string(str(value)) for key, value in configs.items()]
    topic = string(name) + struct.pack(">ih", partitions, 1) + array([]) + array(pairs)
    answer = request(port, CREATE_TOPICS, array([topic]) + struct.pack(">i?", TIMEOUT_MS, False))
    answer.int32()
    (error, detail), = answer.array(read_named_result)
    if error == TOPIC_EXISTS:
        return False
    refuse(f"creating the topic {name}", error, detail)
    return True


def delete_topic(port, name):
    answer = request(port, DELETE_TOPICS, array([string(name)]) + struct.pack(">i", TIMEOUT_MS))
    answer.int32()
    (error,), = answer.array(lambda result: result.string() and (result.int16(),))
    refuse(f"deleting the topic {name}", error)


def grow_topic(port, name, partitions):
    topic = string(name) + struct.pack(">ii", partitions, -1)
    body = array([topic]) + struct.pack(">i?", TIMEOUT_MS, False)
    answer = request(port, CREATE_PARTITIONS, body)
    answer.int32()
    (error, detail), = answer.array(read_named_result)
    refuse(f"giving the topic {name} {partitions} partitions", error, detail)


def delete_records(port, name, partition, before_offset):
    """Returns the partition's new first offset."""
    topic = string(name) + array([struct.pack(">iq", partition, before_offset)])
    answer = request(port, DELETE_RECORDS, array([topic]) + struct.pack(">i", TIMEOUT_MS))
    answer.int32()
    ((first_offset, error),), = answer.array(read_purged_topic)
    refuse(f"deleting records of {name} [{partition}]", error)
    return first_offset


def read_named_result(answer):
    answer.string()
    return answer.int16(), answer.string()


def read_purged_topic(answer):
    answer.string()
    return answer.array(read_purged_partition)


def read_purged_partition(answer):
    answer.int32()
    return answer.int64(), answer.int16()


def refuse(what, error, detail=None):
    if error != NONE:
        reason = detail or ERRORS.get(error, "see the list of Kafka's error codes")
        raise StackError(f"kafka: {what}: error {error}, {reason}")
