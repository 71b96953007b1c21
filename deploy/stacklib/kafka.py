"""Apache Kafka: one node, broker and controller in one (KRaft).

Kafka's jars are fetched once by Maven, from the exact versions in deploy/kafka/pom.xml, into the
stack's cache; the folder is named for the descriptor's content, so that a changed one is fetched
anew and an unchanged one never again.
"""

import base64
import fcntl
import os
import re
import shutil
import subprocess
import time
import uuid
from hashlib import sha256
from pathlib import Path

from . import kafka_wire, service
from .errors import StackError

POM = Path(__file__).resolve().parent.parent / "kafka" / "pom.xml"
MAVEN_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin"
JAVA_MIN = 17
UNTRUSTED = r"PKIX path|certificate_unknown|SSLHandshakeException|CertificateException"
NO_NETWORK = (r"Unknown host|Connection (refused|timed out|reset)|unreachable|Could not transfer|"
              r"Temporary failure in name|in offline mode")

CONFIG = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    # The log is the ledger's write-ahead log: it goes when a person says so.
    "log.retention.ms": "-1",
    "message.max.bytes": "10485760",
    # One node has nobody to replicate to.
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    # After a crash, the node's old session must end before it may serve again.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.dedupe.buffer.size": "16777216",
}

BROKER_FLAGS = ["-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:+ExitOnOutOfMemoryError"]
TOOL_FLAGS = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]


class Kafka(service.Service):
    name = "kafka"
    port_offset = 9092

    @property
    def ports(self):
        return [self.port, self.port + 1]  # clients, controller

    @property
    def version(self):
        return re.search(r"<kafka.version>(.*)</kafka.version>", POM.read_text())[1]

    @property
    def properties(self):
        return self.dir / "server.properties"

    @property
    def tmp(self):
        return self.dir / "tmp"

    @property
    def jars(self):
        return self.stack.cache / f"kafka-{self.version}-{sha256(POM.read_bytes()).hexdigest()[:8]}"

    @property
    def lock_file(self):
        return self.stack.cache / "kafka.lock"

    # What Service asks for.

    def missing(self):
        cache = self.cache_problem()
        found = [self.java_problem(), cache]
        if not cache and not self.jars.exists() and not service.program("mvn"):
            found.append(f"no Maven (mvn), which fetches Kafka once: {service.INSTALL}")
        return list(filter(None, found))

    def cache_problem(self):
        """Others may have made the folder: Java must be able to read the jars, or we to put some
        there."""
        try:
            if self.jars.exists():
                for jar in self.jars.iterdir():
                    jar.open("rb").close()
            else:
                self.stack.cache.mkdir(parents=True, exist_ok=True)
                self.lock_file.open("a").close()
        except OSError as error:
            return (f"the cache {self.stack.cache} cannot be used ({error.strerror}: "
                    f"{error.filename}): give yourself the right to it, or choose another folder "
                    "with --cache")
        return None

    def java_problem(self):
        java = find_java()
        if java is None:
            return f"no Java, which Kafka runs on: {service.INSTALL}, or set JAVA_HOME"
        version = java_version(java)
        if version < JAVA_MIN:
            return (f"{java} is Java {version}, too old for Kafka {self.version}, which needs "
                    f"{JAVA_MIN}: set JAVA_HOME to a newer one (Debian has it as the package "
                    "default-jre-headless)")
        return None

    def prepare(self):
        self.fetch_jars()
        shutil.rmtree(self.tmp, ignore_errors=True)  # a killed Java leaves libraries there
        self.tmp.mkdir()
        if not self.data.exists():
            with service.complete(self.data) as fresh:
                self.format(fresh)
        self.write_config(self.properties)

    def command(self):
        heap = self.stack.settings.kafka_heap
        flags = [f"-Xms{heap}", f"-Xmx{heap}", *BROKER_FLAGS]
        return self.java(flags, "warn", "kafka.Kafka", str(self.properties))

    def config(self):
        return self.config_text(self.data)

    def answers(self):
        try:
            brokers, _ = kafka_wire.metadata(self.port, timeout_s=2)
        except OSError:
            return False
        return bool(brokers)

    # What only Kafka has.

    def create_topic(self, name, partitions, configs=None):
        """Returns when the topic can be used; one that is there already must have that many
        partitions, and keeps its configuration."""
        made = self.ask(kafka_wire.create_topic, name, partitions, configs or {})
        leaders = self.wait_leaders(name, partitions if made else None)
        if len(leaders) != partitions:
            raise StackError(f"kafka: the topic {name} exists with {len(leaders)} partitions, not "
                             f"{partitions}: delete it, or choose another name")
        return made

    def grow_topic(self, name, partitions):
        self.ask(kafka_wire.grow_topic, name, partitions)
        self.wait_leaders(name, partitions)

    def delete_topic(self, name):
        """Returns when the broker has forgotten it and put its logs away: what is written next under
        its name goes into a new one."""
        self.ask(kafka_wire.delete_topic, name)
        deadline = time.monotonic() + 30
        while name in self.ask(kafka_wire.metadata, [name])[1] or self.logs(name):
            if time.monotonic() > deadline:
                raise StackError(f"kafka: the topic {name} is still there after 30 s; see {self.log}")
            time.sleep(0.01)

    def logs(self, name):
        """The folders of a topic's partitions; one that is being deleted has another name."""
        return [path for path in self.data.glob(f"{name}-*")
                if path.name[len(name) + 1:].isdigit()]

    def delete_records(self, name, partition, before_offset):
        """Makes the log begin at `before_offset`; -1: everything goes."""
        return self.ask(kafka_wire.delete_records, name, partition, before_offset)

    def ask(self, request, *args):
        try:
            return request(self.port, *args)
        except OSError as error:
            raise StackError(f"kafka does not answer at {self.address} ({error}): `deploy/stack "
                             "start kafka`") from error

    def wait_leaders(self, name, partitions):
        """{partition: leader}, once there are as many as expected and all have a leader."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            leaders = self.ask(kafka_wire.metadata, [name])[1].get(name, {})
            complete = len(leaders) == partitions if partitions else leaders
            if complete and min(leaders.values()) >= 0:
                return leaders
            time.sleep(0.01)
        raise StackError(f"kafka: the topic {name} has no leader after 30 s; see {self.log}")

    def tool(self, main_class, *args, **options):
        """Runs one of Kafka's command-line classes; `options` are those of subprocess.run. A name
        that begins neither with org. nor with kafka. is one below org.apache.kafka.tools."""
        if find_java() is None:
            raise StackError(f"kafka: no Java: {service.INSTALL}, or set JAVA_HOME")
        self.fetch_jars()
        full = main_class.startswith(("org.", "kafka."))
        name = main_class if full else f"org.apache.kafka.tools.{main_class}"
        return subprocess.run(self.java(TOOL_FLAGS, "error", name, *args), check=False, **options)

    # Java and the jars.

    def java(self, flags, log_level, main_class, *args):
        logging = [f"-Dorg.slf4j.simpleLogger.{key}={value}" for key, value in (
            ("defaultLogLevel", log_level), ("showDateTime", "true"),
            ("dateTimeFormat", "yyyy-MM-dd'T'HH:mm:ss.SSSXXX"))]
        common = ["-XX:-UsePerfData", f"-XX:ErrorFile={self.dir}/java-crash-%p.log",
                  f"-Djava.io.tmpdir={self.tmp}"]
        return [find_java(), *flags, *common, *logging, "-cp", f"{self.jars}/*", main_class, *args]

    def fetch_jars(self):
        """Lets Maven fetch the jars unless they are there. Stacks that share a cache wait."""
        problem = self.cache_problem()
        if problem:
            raise StackError(f"kafka: {problem}")
        if self.jars.exists():
            return
        with self.lock_file.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self.jars.exists():
                with service.complete(self.jars) as fresh:
                    self.run_maven(fresh)

    def run_maven(self, jars):
        self.say(f"fetching Apache Kafka {self.version} with Maven (about 45 MB, only once)")
        argv = [service.program("mvn"), "--batch-mode", "--no-transfer-progress",
                "--update-snapshots", f"--file={POM}", f"{MAVEN_PLUGIN}:copy-dependencies",
                f"-DoutputDirectory={jars}"]
        done = subprocess.run(argv, text=True, check=False, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        log = self.stack.cache / "maven.log"
        log.write_text(done.stdout)
        if done.returncode != 0 or not list(jars.glob("kafka_*.jar")):
            raise StackError(maven_failure(done.stdout, log))

    # Configuration and data.

    def config_text(self, data):
        config = {
            **CONFIG,
            "log.dirs": data,
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{self.port + 1}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.quorum.voters": f"1@127.0.0.1:{self.port + 1}",
            **self.stack.settings.kafka_options,
        }
        return "".join(f"{key}={value}\n" for key, value in config.items())

    def format(self, data):
        self.say("creating the data folder")
        config = self.dir / "format.properties"
        config.write_text(self.config_text(data))
        argv = self.java(TOOL_FLAGS, "error", "kafka.tools.StorageTool", "format",
                         f"--cluster-id={new_cluster_id()}", f"--config={config}")
        self.run_tool(argv, "cannot create its data")
        config.unlink()


def new_cluster_id():
    """A random one as Kafka writes them; it never begins with '-', which tools take for options."""
    random = bytearray(uuid.uuid4().bytes)
    random[0] &= 0x7F
    return base64.urlsafe_b64encode(random).decode().rstrip("=")


def find_java():
    home = os.environ.get("JAVA_HOME")
    java = Path(home or "/", "bin/java")
    return str(java) if home and os.access(java, os.X_OK) else service.program("java")


def java_version(java):
    """17 of 17.0.15, 8 of 1.8.0; 0 if it does not say."""
    argv = [java, "-XX:-UsePerfData", "-version"]
    said = subprocess.run(argv, text=True, check=False, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(found[1]) if found else 0


def maven_failure(said, log):
    errors = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in said.splitlines() if "ERROR" in line]
    remedy = f"{log} says why"
    if re.search(UNTRUSTED, said):
        remedy = untrusted(said)
    elif re.search(NO_NETWORK, said):
        remedy = ("no network, or Maven may not use it: check the connection, or the proxy and "
                  "mirror in ~/.m2/settings.xml; on a machine without one, copy the cache "
                  "folder of a stack that has been started elsewhere and name it with --cache")
    shown = "".join(f"\n    {line[:300]}" for line in errors[:4])
    return f"kafka: Maven cannot fetch Kafka: {remedy}{shown}"


def untrusted(said):
    """Often a company's proxy, which shows a certificate of its own for every server."""
    where = re.search(r"https://[^\s)]+", said)
    return (f"Java does not trust the certificate of {where[0] if where else 'the repository'}: "
            "give it the authority that signed it (on Debian: copy its PEM file to "
            "/usr/local/share/ca-certificates/NAME.crt, then `update-ca-certificates`; or name a "
            "trust store in MAVEN_OPTS=-Djavax.net.ssl.trustStore=FILE), and check this machine's "
            "clock")
