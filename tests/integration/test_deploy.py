"""What deploy/ has for those who run ledgerd: the systemd unit, the Debian package, containers.

The package is built, and installed in a copy of this machine's file system that goes away (an
overlay, which needs root); what it installed is then run as the unit says.
"""

import os
import re
import shlex
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from harness import LEDGERD, eventually, random_events
from stacklib import ports

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "ledgerd.service"
EXPOSURE_MAX = 2.0  # of 10, by `systemd-analyze security`


def output(*argv, **options):
    done = subprocess.run([*map(str, argv)], text=True, capture_output=True, check=False, **options)
    assert done.returncode == 0, (argv, done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout


# systemd


class Manager:
    """The socket on which systemd would listen, and what was heard there, line by line."""

    def __init__(self, name):
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        self.socket.setblocking(False)
        self.lines = []

    def hears(self, line):
        while True:
            try:
                self.lines += self.socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return any(re.fullmatch(line, heard) for heard in self.lines)

    def wait(self, line):
        eventually(lambda: self.hears(line), what=f"{line} in {self.lines}")

    def forget(self):
        self.hears("")
        self.lines.clear()


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    name = str(tmp_path / "notify") if request.param == "path" else f"@ledgerd-test-{os.getpid()}"
    made = Manager(name)
    yield made
    made.socket.close()


def managed(manager):
    return {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "800000"}


def test_systemd_is_told(ledger, manager):
    ledger.environment |= managed(manager)
    one = ledger.start()
    manager.wait("READY=1")
    manager.wait("STATUS=partitions: 2 owned, 2 running, 0 halted")
    for _ in range(3):
        manager.forget()
        manager.wait("WATCHDOG=1")
    assert not manager.hears("READY=1")
    one.signal(signal.SIGSTOP)
    time.sleep(1)
    manager.forget()
    time.sleep(1)
    assert not manager.hears("WATCHDOG=1")
    assert one.stop() == 0
    assert manager.hears("STOPPING=1")


def test_systemd_waits_for_no_server(ledger, manager):
    """A database that is away is no reason to start the process anew, nor to hold up the machine's
    own start."""
    ledger.environment |= managed(manager)
    one = ledger.start(wait=False, mysql_port=ports.free())
    manager.wait("READY=1")
    manager.wait("STATUS=waiting for the servers: .*")
    manager.forget()
    manager.wait("WATCHDOG=1")
    assert one.stop() == 0


def test_a_mistake_in_the_configuration_never_counts_as_started(ledger, manager):
    ledger.environment |= managed(manager)
    one = ledger.start(wait=False, mysql_port="none")
    assert one.process.wait(60) == 2
    assert not manager.hears("READY=1")
    assert "RestartPreventExitStatus=2" in UNIT.read_text().splitlines()


@pytest.mark.parametrize("change", [
    {"NOTIFY_SOCKET": "/nowhere/socket"}, {"NOTIFY_SOCKET": "relative"}, {"NOTIFY_SOCKET": ""},
    {"NOTIFY_SOCKET": "@" + "x" * 200}, {"WATCHDOG_USEC": "junk"}])
def test_a_manager_that_is_not_there(ledger, change):
    ledger.environment |= change
    assert ledger.start().stop() == 0


def test_the_watchdog_is_not_for_another_process(ledger, manager):
    ledger.environment |= managed(manager) | {"WATCHDOG_PID": "1"}
    ledger.start()
    manager.wait("STATUS=partitions: 2 owned, 2 running, 0 halted")
    assert not manager.hears("WATCHDOG=1")


def test_the_unit_is_a_sandbox():
    said = output("systemd-analyze", "security", "--offline=true", "--no-pager", UNIT)
    exposure = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", said)[1])
    assert exposure <= EXPOSURE_MAX


# The Debian package


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return output(DEPLOY / "package", tmp_path_factory.mktemp("package")).strip()


class Machine:
    """This machine's file system with a layer above it; whatever changes goes into the layer."""

    LAYER = """
        set -e
        mount -t tmpfs layer "$1"
        mkdir "$1/upper" "$1/work" "$1/root"
        mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
    """
    NAMESPACES = ("--mount",)
    START = """
        for folder in proc sys dev; do mount --rbind "/$folder" "$1/root/$folder"; done
        echo up
        exec sleep infinity
    """

    def __init__(self, folder):
        folder.mkdir()
        self.root = folder / "root"
        self.holder = subprocess.Popen(
            ["unshare", *self.NAMESPACES, "sh", "-c", self.LAYER + self.START, "machine",
             str(folder)], stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout.readline() == "up\n", "an overlay needs root"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.holder.kill()
        self.holder.wait()

    def command(self, *argv, user="root:root"):
        """Arguments that run a program there; its process is the one that is started."""
        return ["nsenter", f"--target={self.holder.pid}", "--mount", "chroot",
                f"--userspec={user}", str(self.root), *map(str, argv)]

    def run(self, *argv, **options):
        return output(*self.command(*argv), **options)


class BootedMachine(Machine):
    """One with systemd as its first process. The kernel's settings are read-only there, as in a
    container; the network is this machine's."""

    NAMESPACES = ("--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child")
    START = """
        cd "$1/root"
        mount -t proc proc proc
        mount --bind proc/sys proc/sys
        mount -o remount,bind,ro proc/sys
        mount -t sysfs -o ro sysfs sys
        mount -t cgroup2 cgroup2 sys/fs/cgroup
        mount --rbind /dev dev
        mount -t tmpfs run run
        rm -f etc/systemd/system/*.wants/*
        printf '[Unit]\\nDefaultDependencies=no\\n' >etc/systemd/system/nothing.target
        systemd-id128 new >etc/machine-id
        mkdir -p before
        pivot_root . before
        umount --lazy /before
        echo up
        export container=test
        exec >/dev/null 2>&1
        exec /usr/lib/systemd/systemd --system --unit=nothing.target --log-target=null
    """

    def __init__(self, folder):
        super().__init__(folder)
        self.first = Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text()
        eventually(self.is_up, what="systemd answers")

    def is_up(self):
        argv = self.command("systemctl", "is-active", "nothing.target")
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0

    def command(self, *argv):
        return ["nsenter", f"--target={self.first.strip()}", "--mount", "--pid", "--ipc", "--uts",
                *map(str, argv)]


@pytest.fixture(scope="module")
def machine(tmp_path_factory, package):
    """One on which the package has been installed."""
    with Machine(tmp_path_factory.mktemp("machine") / "layer") as made:
        made.run("dpkg", "--install", package)
        yield made


def test_the_package_installs(machine):
    assert machine.run("ledgerd", "--version").startswith("ledgerd ")
    assert "ledgerd" in machine.run("id", "--name", "--user", "ledgerd")
    rights = machine.run("stat", "-c", "%a %U:%G", "/etc/ledgerd", "/etc/ledgerd/ledgerd.yaml")
    assert rights == "750 root:ledgerd\n640 root:ledgerd\n"
    listed = machine.run("dpkg", "--listfiles", "ledgerd").split()
    for name in ("/usr/share/doc/ledgerd/CONFIG.md", "/lib/systemd/system/ledgerd.service",
                 "/usr/share/ledgerd/sql/0001_ledger.sql", "/usr/share/ledgerd/lua/publish.lua"):
        assert name in listed
    assert not Path("/etc/ledgerd/ledgerd.yaml").exists()  # here, nothing was installed


def test_the_unit_fits_what_is_installed(machine):
    said = subprocess.run(machine.command("systemd-analyze", "verify", "ledgerd.service"),
                          text=True, capture_output=True, check=False)
    assert "ledgerd.service" not in said.stdout + said.stderr, said.stderr
    documentation = re.search(r"^Documentation=file://(\S+)$", UNIT.read_text(), re.M)[1]
    machine.run("test", "-f", documentation)


def configure(machine, ledger, **more):
    """As README.Debian says."""
    machine.run("install", "-m", "0400", "-o", "ledgerd", "/dev/stdin",
                "/etc/ledgerd/mysql-password", input=ledger.stack.mysql.password)
    machine.run("tee", "/etc/ledgerd/ledgerd.yaml", input=yaml.safe_dump({
        "ledger": {"name": ledger.database},
        "kafka": {"bootstrap_servers": ledger.stack.kafka.address, "topic": ledger.topic},
        "mysql": {"host": "127.0.0.1", "port": ledger.stack.mysql.port,
                  "user": ledger.stack.mysql.user, "database": ledger.database,
                  "password_file": "/etc/ledgerd/mysql-password"},
        "redis": {"port": ledger.stack.redis.port}} | more))


def test_what_is_installed_runs(machine, ledger):
    """As its own user, from /etc/ledgerd/ledgerd.yaml, by the unit's own command line."""
    configure(machine, ledger)
    start = shlex.split(re.search(r"^ExecStart=(.*)$", UNIT.read_text(), re.M)[1])
    assert start[1:] == ["run"]
    ledger.program = machine.command(start[0], user="ledgerd:ledgerd")
    ledger.environment = {"PATH": os.environ["PATH"]}
    assert "/etc/ledgerd/ledgerd.yaml" in ledger.run("check-config")
    assert "up to date" in ledger.run("migrate")
    one = ledger.start()
    uids = re.search(r"^Uid:\s+(\d+)", Path(f"/proc/{one.process.pid}/status").read_text(), re.M)
    assert uids[1] == machine.run("id", "--user", "ledgerd").strip()
    ledger.publish(random_events(1000))
    ledger.wait_consumed()
    ledger.assert_equals_oracle()
    ledger.run("verify", "--from-kafka")
    assert one.stop() == 0


def test_systemd_itself(tmp_path, package, ledger):
    """The installed unit, its sandbox in force: it starts, works, is started anew when it hangs,
    and stops."""
    with BootedMachine(tmp_path / "layer") as machine:
        machine.run("dpkg", "--install", package)
        configure(machine, ledger, http={"listen": f"127.0.0.1:{ports.free()}"})
        drop_ins = "/etc/systemd/system/ledgerd.service.d"
        machine.run("mkdir", drop_ins)
        machine.run("tee", f"{drop_ins}/test.conf", input="[Service]\nWatchdogSec=4\n")
        machine.run("systemctl", "daemon-reload")

        def shows(name):
            said = machine.run("systemctl", "show", "ledgerd", f"--property={name}")
            return said.strip().partition("=")[2]

        assert shows("ActiveState") == "inactive"  # the package starts nothing
        machine.run("systemctl", "start", "ledgerd")
        eventually(lambda: shows("StatusText") == "partitions: 2 owned, 2 running, 0 halted")
        ledger.publish(random_events(500))
        ledger.wait_consumed()
        first = shows("MainPID")
        status = machine.run("cat", f"/proc/{first}/status")
        assert re.search(r"^CapEff:\s+0+$", status, re.M)
        assert re.search(r"^Seccomp:\s+2$", status, re.M)
        machine.run("kill", "-STOP", first)
        eventually(lambda: shows("NRestarts") != "0" and shows("ActiveState") == "active")
        ledger.publish(random_events(500, seed=2, prefix="s"))
        ledger.wait_consumed()
        ledger.assert_equals_oracle()
        machine.run("systemctl", "stop", "ledgerd")
        assert shows("Result") == "success" and shows("ExecMainStatus") == "0"


def test_the_package_is_upgraded_and_goes(tmp_path, package):
    with Machine(tmp_path / "layer") as machine:
        machine.run("dpkg", "--install", package)
        machine.run("chmod", "0600", "/etc/ledgerd/ledgerd.yaml")
        machine.run("dpkg", "--install", package)
        assert machine.run("stat", "-c", "%a", "/etc/ledgerd/ledgerd.yaml") == "600\n"
        machine.run("dpkg", "--remove", "ledgerd")
        machine.run("test", "-f", "/etc/ledgerd/ledgerd.yaml")
        machine.run("dpkg", "--purge", "ledgerd")
        assert machine.run("sh", "-c", "ls -d /etc/ledgerd /usr/bin/ledgerd 2>&1 || true"
                           ).count("cannot access") == 2


# Containers


def variables():
    """Every variable that ledgerd knows."""
    return set(re.findall(r"^ +(LEDGERD_\w+)$", output(LEDGERD, "--help-config"), re.M))


def compose():
    return yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())


def test_compose_is_valid(tmp_path):
    assert "ledgerd" in output("docker-compose", "-f", DEPLOY / "docker" / "compose.yaml", "config")


def test_compose_names_what_there_is():
    services = compose()["services"]
    for name, service in services.items():
        for wanted, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[wanted], name
            else:
                assert "restart" not in services[wanted], name
        assert set(service.get("secrets", [])) <= set(compose()["secrets"])
        assert re.fullmatch(r"ledgerd|[\w./-]+:\d[\w.]*", service["image"]), "a version is named"
    for name in ("migrate", "ledgerd"):
        settings = services[name]["environment"]
        assert set(settings) <= variables()
        for option in ("MYSQL", "REDIS"):
            assert settings[f"LEDGERD_{option}_HOST"] in services
    assert (DEPLOY / "docker" / services["ledgerd"]["build"]["context"]).resolve() == ROOT


def instructions():
    text = (DEPLOY / "docker" / "Dockerfile").read_text().replace("\\\n", " ")
    return [line.split(None, 1) for line in text.splitlines() if line and line[0] not in "# "]


def test_the_image_installs_what_the_package_needs():
    steps = instructions()
    assert [name for name, _ in steps].count("FROM") == 2
    installed = re.search(r"--no-install-recommends(.*)", steps[1][1])[1].split()
    control = (DEPLOY / "debian" / "control").read_text()
    needed = re.search(r"^Build-Depends:(.*?)^\S", control, re.M | re.S)[1]
    for wanted in needed.split(","):
        names = [re.sub(r"-compat$", "", one.split()[0]) for one in wanted.split("|")]
        assert set(names) & set(installed), wanted
    last = dict(steps)
    assert last["USER"] == "ledgerd"
    assert last["ENTRYPOINT"] == '["/usr/bin/ledgerd"]' and last["CMD"] == '["run"]'
    for setting in re.findall(r"(LEDGERD_\w+)=", last["ENV"]):
        assert setting in variables()


@pytest.fixture(scope="module")
def manifests():
    documents = yaml.safe_load_all((DEPLOY / "kubernetes" / "ledgerd.yaml").read_text())
    return {document["kind"]: document for document in documents}


def test_kubernetes_configuration_is_taken(manifests, tmp_path):
    """By ledgerd itself: all that it may say is that the servers are not there."""
    passwords = tmp_path / "mysql"
    passwords.write_text("x")
    path = tmp_path / "ledgerd.yaml"
    text = manifests["ConfigMap"]["data"]["ledgerd.yaml"]
    assert list(manifests["ConfigMap"]["data"]) == ["ledgerd.yaml"]  # the name of the default file
    path.write_text(text.replace("/run/passwords/mysql", str(passwords)))
    done = subprocess.run([LEDGERD, "status", "-c", path], text=True, capture_output=True,
                          check=False, env={"LEDGERD_MYSQL_HOST": "127.0.0.1",
                                            "LEDGERD_MYSQL_PORT": str(ports.free())})
    assert done.returncode == 1, done.stderr
    assert "connecting to MySQL" in done.stderr


def test_kubernetes_manifests_agree(manifests):
    assert set(manifests) == {"ConfigMap", "Deployment", "PodDisruptionBudget", "Service"}
    spec = manifests["Deployment"]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == labels
    assert manifests["Service"]["spec"]["selector"] == labels
    assert manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    pod = spec["template"]["spec"]
    ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
    config = yaml.safe_load(manifests["ConfigMap"]["data"]["ledgerd.yaml"])
    assert config["http"]["listen"] == f"0.0.0.0:{ports['http']}"
    assert manifests["Service"]["spec"]["ports"][0]["targetPort"] in ports
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["config"]["configMap"]["name"] == manifests["ConfigMap"]["metadata"]["name"]
    for container in pod["initContainers"] + pod["containers"]:
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert set(mounts) == set(volumes)
        assert mounts["config"] == "/etc/ledgerd"
        assert config["mysql"]["password_file"].startswith(mounts["passwords"] + "/")
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert pod["securityContext"]["runAsNonRoot"]
    service = manifests["Service"]
    monitor = yaml.safe_load((DEPLOY / "kubernetes" / "servicemonitor.yaml").read_text())
    assert monitor["spec"]["selector"]["matchLabels"] == service["metadata"]["labels"]
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]


def test_probes_answer(manifests, ledger):
    """The probes' paths are there, and the container's own commands exist."""
    one = ledger.start()
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    for probe in ("livenessProbe", "readinessProbe"):
        assert one.get(container[probe]["httpGet"]["path"])[0] == 200
    for each in pod["initContainers"] + pod["containers"]:
        assert output(LEDGERD, *each["args"], "--help").startswith("usage: ledgerd")
