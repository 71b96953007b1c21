"""The kinds of faults, one function each: what is done, and undone at its end.

A fault has a target, which no other fault may touch while it lasts: an instance, a server, the
link to a server, or the leases. It takes its choices from `chance` alone, and returns a few words
for the story.
"""

import signal
import time
from dataclasses import dataclass
from functools import partial
from typing import Callable

from stacklib.errors import StackError
from world import INSTANCES, PARTITIONS, TTL_MS

TTL_S = TTL_MS / 1000


class Missed(Exception):
    """The target was not there: nothing was done."""


@dataclass(frozen=True)
class Kind:
    name: str
    targets: tuple
    inflict: Callable  # (world, chance, target): words
    weight: float = 2
    needs: str = ""     # another target, which must be whole


# Instances


def kill_instance(world, chance, name):
    """SIGKILL, and started again: at once, or after its leases have expired."""
    world.take(name).kill()
    down_s = chance.choice((0, chance.uniform(0, TTL_S), chance.uniform(TTL_S, 2 * TTL_S)))
    time.sleep(down_s)
    world.start_instance(name)
    return f"down for {down_s:.1f} s"


def end_instance(world, chance, name):
    """SIGTERM: it must end by itself, whatever is broken just then."""
    world.stop_instance(name)
    time.sleep(chance.uniform(0, 1))
    world.start_instance(name)
    return "started again"


def freeze_instance(least_s, most_s, world, chance, name):
    """SIGSTOP, and SIGCONT: past the lease's time it wakes up as a zombie."""
    instance = world.running[name]
    frozen_s = chance.uniform(least_s, most_s)
    instance.signal(signal.SIGSTOP)
    time.sleep(frozen_s)
    instance.signal(signal.SIGCONT)
    return f"for {frozen_s:.1f} s"


# Servers


def kill_server(world, chance, name):
    service = getattr(world, name)
    began = time.monotonic()
    service.kill()
    down_s = chance.choice((0, chance.uniform(0, 2), chance.uniform(2, 6)))
    time.sleep(down_s)
    service.start()
    away_s = time.monotonic() - began
    world.away_s[name] = max(world.away_s[name], away_s)
    return f"started after {down_s:.1f} s, answers after {away_s:.1f} s"


def promote_replica(world, chance, _):
    """The replica takes over, some commits behind; a new one is made of what it is then."""
    databases = world.databases
    thread = chance.choice(("IO", "SQL"))
    behind_s = chance.uniform(0.5, 4)
    databases.promote(thread, behind_s)
    world.proxies["mysql"].order(target=world.mysql.port)
    time.sleep(chance.uniform(2, 5))
    databases.make_replica()
    return f"{thread} thread stopped {behind_s:.1f} s before"


def fill_disk(world, chance, _):
    full_s = chance.uniform(1, 5)
    disk = world.databases.disk
    try:
        disk.fill()
        time.sleep(full_s)
    finally:
        disk.free()
    died = world.mysql.state == "dead"
    if died:
        world.mysql.start()
    return f"full for {full_s:.1f} s" + (", the server died of it" if died else "")


# Links


def cut(world, chance, link):
    """All connections are reset; new ones, too, for as long as it lasts."""
    cut_s = chance.choice((0, chance.uniform(0, 3)))
    world.proxies[link].order(mode="cut")
    time.sleep(cut_s)
    world.proxies[link].heal()
    return f"for {cut_s:.1f} s"


def delay(world, chance, link):
    delay_s, lasts_s = chance.choice((0.02, 0.1, 0.4)), chance.uniform(1, 4)
    world.proxies[link].order(mode="delay", delay_s=delay_s)
    time.sleep(lasts_s)
    world.proxies[link].heal()
    return f"by {delay_s * 1000:.0f} ms for {lasts_s:.1f} s"


def half_open(world, chance, link):
    """What is sent is swallowed, or done and its answer swallowed; nobody is told. Where it meets
    only some connections, an owner may have lost its lease and be able to write as before."""
    deaf = chance.choice((["requests", "answers"], ["answers"], ["requests"]))
    lasts_s, share = chance.uniform(0.2, 4), chance.choice((1, 0.5))
    world.proxies[link].order(mode="half_open", deaf=deaf, share=share)
    time.sleep(lasts_s)
    world.proxies[link].heal()
    return f"{' and '.join(deaf)} swallowed on {share:.0%} for {lasts_s:.1f} s"


def on_link(inflict, link, world, chance, _):
    return inflict(world, chance, link)


# Leases, changed by hand


def change_leases(statement, world, chance, _):
    partition = chance.randrange(PARTITIONS)
    try:
        world.sql(statement.format(partition=partition))
    except StackError as error:
        raise Missed(error) from error
    return f"partition {partition}"


LEASE_CHANGES = {
    "expired by hand": "UPDATE leader_locks SET expires_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND "
                       "WHERE id = {partition}",
    "owner's name changed": "UPDATE leader_locks SET consumer_id = 'nobody' WHERE id = {partition}",
    "given to another by hand": f"UPDATE leader_locks SET consumer_id = '{INSTANCES[0]}', "
                                "epoch = epoch + 1, expires_at = UTC_TIMESTAMP(6) + "
                                "INTERVAL 3 SECOND WHERE id = {partition}",
    "epoch raised": "UPDATE leader_locks SET epoch = epoch + 1 WHERE id = {partition}",
    "epoch raised in partition_offsets": "UPDATE partition_offsets SET epoch = epoch + 1 "
                                         "WHERE kafka_partition = {partition}",
    "members deleted": "DELETE FROM leader_members",
}


KINDS = (
    Kind("instance: SIGKILL", INSTANCES, kill_instance, 6),
    Kind("instance: SIGTERM", INSTANCES, end_instance, 3),
    Kind("instance: SIGSTOP, within its lease", INSTANCES,
         partial(freeze_instance, 0.05, TTL_S / 2), 4),
    Kind("instance: SIGSTOP, past its lease", INSTANCES,
         partial(freeze_instance, TTL_S, 3 * TTL_S), 5),
    Kind("Kafka: SIGKILL", ("kafka",), kill_server, 0.4),  # it is slow to come back
    Kind("MySQL: SIGKILL", ("mysql",), kill_server, 4),
    Kind("Redis: SIGKILL", ("redis",), kill_server, 3),
    Kind("MySQL: its disk is full", ("mysql",), fill_disk, 3),
    Kind("MySQL: a replica that is behind is promoted", ("mysql",), promote_replica, 2),
    *(Kind(f"{name}: connections {how}", (f"{link} link",), partial(on_link, inflict, link), 3)
      for link, name in (("kafka", "Kafka"), ("mysql", "MySQL"), ("redis", "Redis"))
      for how, inflict in (("cut", cut), ("delayed", delay), ("half-open", half_open))),
    *(Kind(f"lease: {what}", ("leases",), partial(change_leases, statement), needs="mysql")
      for what, statement in LEASE_CHANGES.items()),
)
NEEDS_DISK = "MySQL: its disk is full"
