"""The torture itself: rounds of faults, each followed by quiet, and the reckoning at the end.

In a round a fault begins every few hundred milliseconds, several may last at a time, but only one
on each target. Each kind comes once before any comes again by chance. Then the faults stop, and
every partition must have consumed something new within a limit: a ledger that no longer moves is
found at once.
"""

import random
import re
import threading
import time
from collections import Counter
from contextlib import suppress

from check import Where, check_all
from faults import KINDS, NEEDS_DISK, Missed
from harness import SANITIZER_REPORTS, eventually
from report import Report
from watch import Watch
from world import INSTANCES, PARTITIONS, TTL_MS, World

RATE = 1500              # events a second
ROUND_S = 20
PAUSE_S = (0.15, 0.7)    # between two faults
AT_A_TIME = 4
RECOVERY_MAX_S = 180
REDIS_MAX_S = 60
VERIFY_MAX_S = 3600
STORY = "story.log"
FENCED = re.compile(r'msg="partition fenced".* reason="([^"]*)"')
FORBIDDEN = (*SANITIZER_REPORTS, "partition halted", "balances in memory are not",
             "balances in redis are")


def torture(folder, seed, minutes, screen, rate=None, only=""):
    """A whole run, with the faults that have `only` in their names. Its report."""
    world = World(folder, seed, rate or RATE)
    try:
        with screen.step("start") as done:
            world.start()
            done(f"seed {seed}, in {folder}")
        return Torture(world, minutes, screen, only).run()
    finally:
        world.close()


class Tormentor:
    """Chooses faults, and inflicts each in a thread of its own."""

    def __init__(self, world, kinds, seed):
        self.world = world
        self.kinds = kinds
        self.chance = random.Random(seed)
        self.first = self.chance.sample(kinds, len(kinds))
        self.inflicted = Counter()
        self.busy = {}  # target: thread
        self.began = time.monotonic()
        self.story = open(world.folder / STORY, "w")

    def choose(self):
        """A kind, and one of its targets that is free; None if there is none just now."""
        weights = [kind.weight for kind in self.kinds]
        for kind in [*self.first, *self.chance.choices(self.kinds, weights, k=5)]:
            free = [target for target in kind.targets if target not in self.busy]
            if free and kind.needs not in self.busy:
                return kind, self.chance.choice(free)
        return None

    def torment(self):
        """Begins one more fault."""
        self.busy = {target: thread for target, thread in self.busy.items() if thread.is_alive()}
        choice = self.choose() if len(self.busy) < AT_A_TIME else None
        if choice is None:
            return
        kind, target = choice
        if kind in self.first:
            self.first.remove(kind)
        chance = random.Random(self.chance.random())
        self.busy[target] = threading.Thread(target=self.inflict, args=(kind, target, chance))
        self.busy[target].start()

    def inflict(self, kind, target, chance):
        self.tell(kind, target, "begins")
        try:
            words = kind.inflict(self.world, chance, target)
            self.inflicted[kind.name] += 1
        except Missed as missed:
            words = f"missed: {missed}"
            self.first.append(kind)
        except Exception as error:  # noqa: BLE001 a thread's last word
            words = f"{type(error).__name__}: {error}"
            self.world.fail(f"{kind.name}, {target}: {words}")
        self.tell(kind, target, words)

    def tell(self, kind, target, words):
        at_s = time.monotonic() - self.began
        self.story.write(f"{at_s:8.2f} s  {kind.name}, {target}: {words}\n")
        self.story.flush()

    @property
    def kafka_is_away(self):
        """It takes its time to come back, which would be a quiet one."""
        return "kafka" in self.busy

    def rest(self):
        for thread in self.busy.values():
            thread.join()
        self.busy = {}


class Torture:
    def __init__(self, world, minutes, screen, only=""):
        self.world = world
        self.screen = screen
        self.minutes = minutes
        self.report = Report(seed=world.seed, minutes=minutes, partitions=PARTITIONS,
                             instances=len(INSTANCES), lease_ms=TTL_MS, rate=world.rate)
        problem = world.databases.disk_problem
        if problem:
            self.report.skipped[NEEDS_DISK] = f"nothing can be mounted here: {problem}"
        self.tormentor = Tormentor(world, self.kinds(only), world.seed)

    def kinds(self, only):
        return [kind for kind in KINDS
                if only in kind.name and kind.name not in self.report.skipped]

    def run(self):
        with self.screen.step("torture") as done, Watch(self.world, PARTITIONS) as watch:
            try:
                self.rounds(watch)
            finally:
                self.tormentor.rest()  # nobody starts a server when all have been stopped
            done(f"{sum(self.tormentor.inflicted.values())} faults")
        with self.screen.step("catch up") as done:
            done(self.catch_up())
        with self.screen.step("redis") as done:
            done(self.check_redis())
        with self.screen.step("stop") as done:
            done(self.stop_instances())
        with self.screen.step("verify") as done:
            done(self.verify())
        with self.screen.step("oracle") as done:
            done(self.ask_oracle())
        self.read_logs()
        self.fill_report(watch)
        return self.report

    # Rounds

    def rounds(self, watch):
        self.recover()  # all is well to begin with
        self.report.recoveries_s.clear()
        end = time.monotonic() + self.minutes * 60
        while (time.monotonic() < end or self.tormentor.first) and not self.world.failures:
            round_end = min(time.monotonic() + ROUND_S, max(end, time.monotonic() + 2))
            while (time.monotonic() < round_end or self.tormentor.kafka_is_away) \
                    and not self.world.failures:
                time.sleep(self.tormentor.chance.uniform(*PAUSE_S))
                self.tormentor.torment()
                self.progress(watch, end)
            self.tormentor.rest()
            self.recover()

    def recover(self):
        if self.world.failures:
            return
        began = time.monotonic()
        try:
            eventually(self.world.has_moved(), RECOVERY_MAX_S, "recovered")
            self.report.recoveries_s.append(time.monotonic() - began)
        except AssertionError:
            self.world.fail(f"not recovered {RECOVERY_MAX_S} s after the last fault; acknowledged "
                            f"up to {self.world.acknowledged_ends}:\n{self.status()}")

    def status(self):
        with suppress(AssertionError, OSError):
            return self.world.ledger.run("status")
        return "ledgerd status fails"

    def progress(self, watch, end):
        left_s = max(0, end - time.monotonic())
        self.screen.progress(
            1 - left_s / (self.minutes * 60),
            f"{sum(self.tormentor.inflicted.values())} faults, {self.world.sent:,} events, "
            f"{watch.acquired} hand-overs, longest stall {watch.longest_stall_s:.1f} s")

    # The reckoning

    def catch_up(self):
        self.world.stop_producers()
        ends = self.world.ledger.log_ends()
        lost = [end for end, acknowledged in zip(ends, self.world.acknowledged_ends, strict=True)
                if end < acknowledged]
        if lost:
            self.world.fail(f"Kafka has lost what it acknowledged: the log ends at {ends}")
        try:
            eventually(lambda: self.world.has_consumed(ends), RECOVERY_MAX_S, "caught up")
        except AssertionError:
            self.world.fail(f"not caught up after {RECOVERY_MAX_S} s:\n{self.status()}")
            return "no"
        return f"{sum(ends):,} messages are consumed"

    def check_redis(self):
        """Redis must become equal to the database by itself."""
        ledger = self.world.ledger
        try:
            eventually(lambda: ledger.redis_balances() == ledger.redis_of_mysql(), REDIS_MAX_S, "")
        except AssertionError:
            redis, mysql = ledger.redis_balances(), ledger.redis_of_mysql()
            wrong = [(key, redis.get(key), mysql.get(key)) for key in redis.keys() | mysql.keys()
                     if redis.get(key) != mysql.get(key)]
            self.world.fail(f"Redis differs after {REDIS_MAX_S} s (key, Redis, MySQL): {wrong[:5]}")
            return f"{len(wrong)} balances differ"
        return "equal to MySQL"

    def stop_instances(self):
        for name in list(self.world.running):
            self.world.stop_instance(name)
        return f"the last of {self.world.lives} lives"

    def verify(self):
        try:
            said = self.world.ledger.run("verify", "--from-kafka", timeout_s=VERIFY_MAX_S)
        except AssertionError as error:
            self.world.fail(f"ledgerd verify --from-kafka: {error}")
            return "found differences"
        return said.strip().splitlines()[-1]

    def ask_oracle(self):
        mysql = self.world.mysql
        found = check_all(Where(
            self.world.kafka.address, self.world.ledger.topic, PARTITIONS,
            {"host": "127.0.0.1", "port": mysql.port, "user": mysql.user,
             "password": mysql.password, "database": self.world.ledger.database}))
        self.report.messages = found.messages
        self.report.outcomes = dict(found.outcomes)
        self.report.balances = found.balances
        for difference in found.differences:
            self.world.fail(f"not what the oracle says: {difference}")
        return (f"{found.messages:,} messages, {found.balances:,} balances, "
                f"{len(found.differences)} differences")

    def read_logs(self):
        for name in INSTANCES:
            with open(self.world.folder / f"{name}.log", errors="replace") as log:
                for line in log:
                    for why in FENCED.findall(line):
                        self.report.fenced[why] = self.report.fenced.get(why, 0) + 1
                    if any(words in line for words in FORBIDDEN):
                        self.world.fail(f"{name} says: {line.strip()}")

    def fill_report(self, watch):
        databases = self.world.databases
        for error in databases.replica_errors:
            self.world.fail(f"a replica stopped by itself: {error}")
        report = self.report
        report.faults = {kind.name: self.tormentor.inflicted[kind.name]
                         for kind in self.tormentor.kinds}
        report.failures = self.world.failures
        report.sent = self.world.sent
        report.lives = self.world.lives
        report.away_s = self.world.away_s
        report.acquired = watch.acquired
        report.changed_owner = watch.changed_owner
        report.set_back = watch.set_back
        report.longest_stall_s = watch.longest_stall_s
        report.longest_stall_at_s = watch.longest_stall_at_s

