#!/usr/bin/python3
"""The quick start: builds ledgerd, starts the private stack, and lets a million events through.

Run as deploy/quickstart, which installs missing packages first. Every run begins with an empty
topic and an empty database of its own, and leaves the data of others in the stack alone. What a
run starts is recorded before it starts: so the next one finds and ends what a killed run left.
"""

import argparse
import contextlib
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

from screen import Screen, table
from stack import Stack, StackError
from stacklib import ports, service
from stacklib.cli import DIR_DEFAULT
from stacklib.process import Process

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "quickstart"
BUILD_OPTIONS = ["-Dtests=disabled", "-Dwerror=false", "--buildtype=release"]

TOPIC = "quickstart"
DATABASE = "ledger_quickstart"
PARTITIONS = 4
HTTP_PORT_OFFSET = 9105
SHARES = {"duplicates": 0.01, "overdrafts": 0.01, "malformed": 0.001}
EVENT_DISK_BYTES = 700  # journal, index, log of the database, Kafka; generous
BALANCES_SHOWN = 4
NO_CONFIG = ["-c", os.devnull]  # all that ledgerd is told is in its environment
READY_S = 60
STALLED_S = 60
STOP_S = 30

EPILOG = """\
Every run begins with an empty topic (quickstart) and an empty database (ledger_quickstart) in the
stack in build/stack, which `deploy/stack` manages as well.
"""


class Failed(Exception):
    """Something a person can put right. The text names the thing and the remedy."""


class Told(KeyboardInterrupt):
    """A signal told us to end."""


# The options and the way from the first step to the last.

def parser():
    top = argparse.ArgumentParser(prog="deploy/quickstart", description=__doc__.split("\n\n")[0],
                                  epilog=EPILOG,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--events", type=count, default=1_000_000, metavar="N",
                     help="events to publish; default: 1000000")
    top.add_argument("--accounts", type=count, default=100_000, metavar="N",
                     help="accounts that they are spread over; default: 100000")
    top.add_argument("--keep", action="store_true",
                     help="let ledgerd and the servers run on at the end")
    top.add_argument("--stop", action="store_true", help="stop what --keep has left running")
    top.add_argument("--no-install", action="store_true",
                     help="do not look for missing Debian packages")
    top.add_argument("--dir", default=os.environ.get("STACK_DIR", DIR_DEFAULT), metavar="FOLDER",
                     help="the stack's folder; default: $STACK_DIR, or build/stack")
    top.add_argument("--cache", metavar="FOLDER",
                     help="where Kafka's jars are or shall be; default: the stack's, or "
                     "$STACK_CACHE")
    top.add_argument("--port-base", type=int, metavar="N",
                     help="is added to the servers' usual ports; default: the stack's, or 10000")
    return top


def count(text):
    number = int(text.replace("_", "").replace(",", ""))
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def main():
    options = parser().parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, tell)
    screen = Screen()
    try:
        start = QuickStart(options, screen)
        with start.alone():
            return start.stop() if options.stop else start.run()
    except (Failed, StackError) as error:
        screen.clear()
        print(f"quickstart: {error}", file=sys.stderr)
        return 1
    except Told as told:
        return 128 + told.args[0]
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads any more
        return 1
    except OSError as error:
        screen.clear()
        print(f"quickstart: {error}: check who owns the folder, and the space on its disk",
              file=sys.stderr)
        return 1


def tell(number, _frame):
    raise Told(number)


class QuickStart:
    """One run. The order of `run` is the story; what each step needs stands below it."""

    def __init__(self, options, screen):
        self.options = options
        self.screen = screen
        self.stack = Stack(options.dir, say=screen.say, port_base=options.port_base,
                           cache=options.cache)
        self.dir = self.stack.dir / "quickstart"
        self.dir.mkdir(parents=True, exist_ok=True)
        self.services_file = self.dir / "services.json"
        self.ledgerd_record = self.dir / "ledgerd.process"
        self.ledgerd_log = self.dir / "ledgerd.log"
        self.child = None
        self.took_s = 0.0
        self.set_environment()

    def run(self):
        began = time.monotonic()
        try:
            self.build()
            self.start_servers()
            self.make_ledger()
            self.start_ledgerd()
            self.consume()
            self.tell_outcomes()
            self.tell_balances()
            self.verify()
        except BaseException:
            self.clean_up()
            raise
        if self.options.keep:
            self.tell_how_to_go_on()
        else:
            self.clean_up()
            self.screen.line("\nTo look around while all of it runs: deploy/quickstart --keep")
        self.screen.line(f"Done in {time.monotonic() - began:.0f} s.")
        return 0

    def stop(self):
        """For --stop."""
        self.screen.name = "stop"
        self.screen.passing("...")
        self.stack.say = self.screen.passing
        ended = self.end_ledgerd() + self.end_servers()
        self.screen.line(f"Stopped: {', '.join(ended)}." if ended else
                         "Nothing runs that a quick start has started.")
        return 0

    def clean_up(self):
        """Ends what this run, or one before it, has started. Not to be interrupted."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        with contextlib.suppress(BrokenPipeError):
            self.screen.name = "stop"
            self.screen.passing("...")
        self.stack.say = lambda line: None
        if self.child and self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        ended = self.end_ledgerd() + self.end_servers()
        with contextlib.suppress(BrokenPipeError):
            self.screen.line(f"\nStopped: {', '.join(ended)}." if ended else "")

    @contextlib.contextmanager
    def alone(self):
        """One quick start at a time in a stack."""
        with open(self.dir / "lock", "w", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Failed(f"another quick start works on {self.stack.dir}: wait for it, or give "
                             "this one a --dir and a --port-base of its own") from None
            yield

    # Build.

    def build(self):
        with self.screen.step("build") as done:
            with self.build_lock():
                if not (BUILD / "build.ninja").exists():
                    self.screen.passing("configuring")
                    shutil.rmtree(BUILD, ignore_errors=True)  # what a killed setup has left
                    self.compile(["meson", "setup", str(BUILD), str(ROOT), *BUILD_OPTIONS])
                self.compile(["ninja", "-C", str(BUILD), "consumer/ledgerd"])
            version = self.ledgerd("--version").strip()
            done(f"{version}, {os.path.relpath(self.binary)}")

    @contextlib.contextmanager
    def build_lock(self):
        """Quick starts with other stacks share the build."""
        BUILD.parent.mkdir(exist_ok=True)
        with open(BUILD.with_suffix(".lock"), "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @property
    def binary(self):
        return BUILD / "consumer" / "ledgerd"

    def compile(self, argv):
        """Runs a tool of the build; its output goes to a log, and a bar shows how far it is."""
        log_path = self.dir / "build.log"
        with open(log_path, "w", encoding="utf-8") as log:
            self.child = self.spawn(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for line in self.child.stdout:
                log.write(line)
                step = re.match(r"\[(\d+)/(\d+)\]", line)
                if step and self.screen.live:
                    self.screen.progress(int(step[1]) / int(step[2]), "compiling")
        if self.child.wait() != 0:
            raise Failed(f"the build failed: {' '.join(argv)}\n{tail(log_path)}\n"
                         f"All of it is in {log_path}")

    # Servers.

    def start_servers(self):
        self.check_disk()
        self.end_ledgerd()  # that of a run that was killed or kept
        self.check_port()
        with self.screen.step("servers") as done:
            running = {name for name, one in self.stack.services.items() if one.pid}
            started = set(self.stack.services) - running | set(self.started_services())
            self.services_file.write_text(json.dumps(sorted(started)), encoding="ascii")
            self.stack.start()
            kafka, mysql, redis = self.stack.kafka, self.stack.mysql, self.stack.redis
            mysql_version = mysql.sql("SELECT VERSION()").split("-")[0].strip()
            redis_version = re.search(r"redis_version:(\S+)", self.redis("INFO", "server"))[1]
            done(f"Kafka {kafka.version} :{kafka.port}, "
                 f"{mysql.server.title} {mysql_version} :{mysql.port}, "
                 f"Redis {redis_version} :{redis.port}")

    def check_disk(self):
        disk = os.statvfs(self.dir)
        need = self.options.events * EVENT_DISK_BYTES + (3 << 30)
        free = disk.f_bavail * disk.f_frsize
        if free < need:
            raise Failed(f"{self.options.events:,} events need about {need >> 20:,} MB of disk, and "
                         f"{self.stack.dir} has {free >> 20:,} MB: free some space, choose another "
                         "--dir, or fewer --events")

    def check_port(self):
        """The servers' own ports are the stack's matter."""
        port = int(self.http.rpartition(":")[2])
        if not ports.is_free(port):
            raise Failed(f"port {port}, for /metrics, is taken by {ports.owner(port)}: stop that, or "
                         "`deploy/stack stop` and choose other ports with --port-base")

    def started_services(self):
        """The services that a quick start has started, so that it may stop them."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            return json.loads(self.services_file.read_text(encoding="ascii"))
        return []

    def end_servers(self):
        names = self.started_services()
        ended = [name for name in names if self.stack.services[name].pid]
        if names:
            self.stack.stop(*names)
        self.services_file.unlink(missing_ok=True)
        return ended

    # Schema and topic.

    def make_ledger(self):
        with self.screen.step("ledger") as done:
            self.make_topic()
            self.stack.mysql.sql(f"SET lock_wait_timeout = 30; DROP DATABASE IF EXISTS {DATABASE}; "
                                 f"CREATE DATABASE {DATABASE}")
            self.redis("FLUSHALL")  # a cache, which any other ledger fills again
            self.write_environment()
            self.ledgerd("migrate")
            done(f"topic {TOPIC} with {PARTITIONS} partitions, database {DATABASE}")

    def make_topic(self):
        kafka = self.stack.kafka
        deadline = time.monotonic() + 30
        if not kafka.create_topic(TOPIC, PARTITIONS):
            kafka.delete_topic(TOPIC)
            while not kafka.create_topic(TOPIC, PARTITIONS):
                if time.monotonic() > deadline:
                    raise Failed(f"kafka did not delete the topic {TOPIC} within 30 s: "
                                 f"see {kafka.log}")
                time.sleep(0.1)

    @property
    def settings(self):
        """What ledgerd is told, as its environment."""
        given = {name: str(value) for name, value in self.stack.environment().items()}
        return given | {
            "LEDGERD_LEDGER_NAME": "quickstart",
            "LEDGERD_KAFKA_TOPIC": TOPIC,
            "LEDGERD_MYSQL_DATABASE": DATABASE,
            "LEDGERD_HTTP_LISTEN": self.http,
        }

    @property
    def http(self):
        return f"127.0.0.1:{self.stack.settings.port_base + HTTP_PORT_OFFSET}"

    def set_environment(self):
        """For all that we start; without what somebody else may have told ledgerd."""
        for name in [name for name in os.environ if name.startswith("LEDGERD_")]:
            del os.environ[name]
        os.environ.update(self.settings)

    @property
    def environment_file(self):
        return self.dir / "env"

    def write_environment(self):
        """For a person's shell: `. build/stack/quickstart/env`."""
        lines = [f"export {name}={shlex.quote(value)}" for name, value in self.settings.items()]
        path = shlex.quote(str(self.binary.parent))
        lines.append(f'case ":$PATH:" in *:{path}:*) ;; *) PATH={path}:$PATH ;; esac')
        self.environment_file.write_text("\n".join(lines) + "\n", encoding="utf-8")

    # The daemon.

    def start_ledgerd(self):
        with self.screen.step("ledgerd") as done:
            self.ledgerd_log.write_bytes(b"")
            argv = [str(self.binary), "run", *NO_CONFIG]
            process = Process.spawn(argv, self.ledgerd_record, self.ledgerd_log, "ledgerd")
            self.wait_ready(process)
            done(f"running (pid {process.pid}), http://{self.http}")

    def wait_ready(self, process):
        deadline = time.monotonic() + READY_S
        while True:
            status, body = self.get("/readyz")
            if status == 200:
                return
            if process.state == "gone":
                raise Failed(f"ledgerd ended at its start:\n{tail(self.ledgerd_log)}")
            if time.monotonic() > deadline:
                raise Failed(f"ledgerd is not ready after {READY_S} s:\n{body}\n"
                             f"{tail(self.ledgerd_log)}\nAll of it is in {self.ledgerd_log}")
            time.sleep(0.05)

    def end_ledgerd(self):
        process = Process.load(self.ledgerd_record)
        ended = []
        if process and process.state != "gone":
            ended = ["ledgerd"]
            process.signal(signal.SIGTERM)
            process.signal(signal.SIGCONT)
            if not process.wait("gone", STOP_S):
                process.signal(signal.SIGKILL)
                process.wait("gone", STOP_S)
        self.ledgerd_record.unlink(missing_ok=True)
        return ended

    def get(self, path):
        """Status and text; status 0 if nobody answers."""
        try:
            with urllib.request.urlopen(f"http://{self.http}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    # Events.

    def consume(self):
        """Publishes, and watches the outcomes until there is one for each event."""
        events = self.options.events
        with self.screen.step("events") as done:
            began = time.monotonic()
            self.publish()
            seen, moved = 0, began
            while seen < events:
                now = time.monotonic()
                outcomes = sum(self.outcomes("result").values())
                seen, moved = (outcomes, now) if outcomes > seen else (seen, moved)
                self.check_alive(seen, now - moved)
                self.screen.progress(seen / events, f"{seen:,} of {events:,}, "
                                     f"{seen / (now - began):,.0f}/s")
                time.sleep(0.1)
            self.took_s = time.monotonic() - began
            self.check_published()
            done(f"{events:,} events over {self.options.accounts:,} accounts")
        self.screen.line(f"\nRate: {events / self.took_s:,.0f} events/s, from the first one "
                         "published to the last one committed;\n"
                         "the producer and all servers share this machine.")

    def publish(self):
        argv = [str(self.binary), "produce", *NO_CONFIG, "--generate",
                str(self.options.events), "--accounts", str(self.options.accounts)]
        for name, share in SHARES.items():
            argv += [f"--{name}", str(share)]
        with open(self.dir / "produce.log", "wb") as log:
            self.child = self.spawn(argv, stdout=log, stderr=log)

    def check_published(self):
        if self.child.wait(STOP_S) != 0:
            raise Failed(f"publishing failed:\n{tail(self.dir / 'produce.log')}")

    def check_alive(self, seen, silent_s):
        """Names what is wrong if the events cannot come to their end."""
        if self.child.poll():
            self.check_published()
        process = Process.load(self.ledgerd_record)
        if process is None or process.state == "gone":
            raise Failed(f"ledgerd ended:\n{tail(self.ledgerd_log)}")
        if silent_s < STALLED_S:
            return
        ill = [f"{name} is {state}: see {self.stack.services[name].log}"
               for name, state in self.stack.states().items() if state != "running"]
        raise Failed(f"no progress for {STALLED_S} s, at {seen:,} events.\n" + "\n".join(
            ill or [self.get("/readyz")[1], tail(self.ledgerd_log)]))

    def samples(self, metric):
        """[(labels, value)] of a metric's samples."""
        text = self.get("/metrics")[1]
        for match in re.finditer(rf"^{metric}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE):
            yield dict(re.findall(r'(\w+)="([^"]*)"', match[1] or "")), float(match[2])

    def outcomes(self, label, metric="ledger_events_total"):
        """How many events by a label of theirs, over all partitions."""
        counts = Counter()
        for labels, value in self.samples(metric):
            counts[labels[label]] += int(value)
        return counts

    # What is told of it.

    def tell_outcomes(self):
        results = self.outcomes("result")
        reasons = self.outcomes("reason", "ledger_dead_letters_total")
        letters = ", ".join(f"{reason} {number:,}" for reason, number in sorted(reasons.items())
                            if number)
        meanings = {
            "applied": "balance changed",
            "refused": "insufficient funds or overflow; journalled, balance unchanged",
            "duplicate": "sent before; nothing changed",
            "dead_letter": letters or "none",
        }
        rows = [(name.replace("_", " "), f"{results[name]:,}", meaning)
                for name, meaning in meanings.items()]
        self.screen.line("\nOutcomes, one for each event")
        for line in table(("", "events", ""), rows):
            self.screen.line(line)

    def tell_balances(self):
        """The accounts with the newest changes, as both have them."""
        self.wait_published()
        rows = self.stack.mysql.sql(
            "SELECT account_id, currency_code, TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM "
            "available)), TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM frozen)), version FROM "
            "account_balances ORDER BY version DESC, account_id "
            f"LIMIT {BALANCES_SHOWN}", DATABASE)
        shown = []
        for row in rows.splitlines():
            account, currency, *mysql = row.split("\t")
            redis = self.redis("HMGET", f"balance:{{{account}}}:{currency}", "available", "frozen",
                               "version").splitlines()
            shown.append((account, currency, *mysql, "|", *redis))
        titles = ("account", "currency", "available", "frozen", "version", "|", "available",
                  "frozen", "version")
        self.screen.line("\nBalances of the busiest accounts: MySQL on the left, Redis on the right")
        for line in table(titles, shown):
            self.screen.line(line)

    def wait_published(self):
        """Redis follows MySQL; a moment later nothing waits."""
        deadline = time.monotonic() + STALLED_S
        while sum(value for _, value in self.samples("ledger_redis_pending")):
            if time.monotonic() > deadline:
                raise Failed(f"balances still wait for Redis after {STALLED_S} s; see "
                             f"{self.ledgerd_log}")
            time.sleep(0.05)

    def verify(self):
        self.screen.line("\nledgerd verify --from-kafka")
        self.screen.name = ""
        self.screen.passing("reading the log, the journal, the balances and Redis again")
        status, text = self.run_ledgerd("verify", "--from-kafka")
        for line in text.splitlines():
            self.screen.line(f"  {line}")
        if status != 0:
            raise Failed(f"verify ended with exit status {status}, which must not happen: please "
                         f"report it, with {self.ledgerd_log}")

    def tell_how_to_go_on(self):
        env = os.path.relpath(self.environment_file)
        self.screen.line(f"""
ledgerd and the servers run on. To look around, first let this shell know where they are:

  . {env}

  ledgerd status
  ledgerd statement 1
  mariadb -S "$STACK_MYSQL_SOCKET" -u "$STACK_MYSQL_ADMIN" {DATABASE}
  redis-cli -p {self.stack.redis.port} HGETALL 'balance:{{1}}:USDT'
  curl http://{self.http}/metrics

To stop all of it: {self.stop_command}
""")

    @property
    def stop_command(self):
        default = self.options.dir == parser().get_default("dir")
        return "deploy/quickstart --stop" + ("" if default else f" --dir {self.stack.dir}")

    # Programs.

    def spawn(self, argv, **streams):
        """A child that the interrupt key does not reach, as we end it ourselves; if we are killed,
        the kernel ends it."""
        leash = ["setpriv", "--pdeathsig", "KILL"] if service.program("setpriv") else []
        return subprocess.Popen([*leash, *argv], text=True, start_new_session=True,
                                stdin=subprocess.DEVNULL, **streams)

    def run_ledgerd(self, *arguments):
        """Exit status and output of a command."""
        config = [] if arguments[0].startswith("-") else NO_CONFIG
        argv = [str(self.binary), *arguments, *config]
        self.child = self.spawn(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        text = self.child.communicate()[0]
        return self.child.returncode, text

    def ledgerd(self, *arguments):
        status, text = self.run_ledgerd(*arguments)
        if status != 0:
            raise Failed(f"`ledgerd {' '.join(arguments)}` ended with exit status {status}:\n"
                         f"{text.strip()}")
        return text

    def redis(self, *command):
        argv = [service.program("redis-cli") or "redis-cli", "-p", str(self.stack.redis.port)]
        done = subprocess.run([*argv, *command], text=True, capture_output=True, check=False)
        if done.returncode != 0 or done.stdout.startswith("ERR"):
            raise Failed(f"redis: {command[0]}: {done.stdout.strip()} {done.stderr.strip()}")
        return done.stdout


def tail(path, lines=15):
    """The end of a log, indented."""
    with contextlib.suppress(OSError):
        text = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"    {line[:300]}" for line in text[-lines:]) or "    (nothing)"
    return "    (no log)"


if __name__ == "__main__":
    sys.exit(main())
