"""Encrypted and authenticated connections: MySQL by TLS and by its socket, Kafka by SASL and TLS.

The servers here are a stack of their own. Its certificates are made by openssl for this run; its
database has a user who may only log in by TLS; its Kafka has, beside the plain listener that the
independent clients use, one with passwords and one with passwords over TLS.
"""

import json
import shutil
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import confluent_kafka
import pytest

from harness import LEDGERD, Ledger, event, eventually, random_events
from stack import Stack, free_port_base
from stacklib import ports

PASSWORD = "right-9f83e1c2"
WRONG_PASSWORD = "wrong-51d07ab4"
USER = "encrypted"
plain_by_default = pytest.mark.skipif(
    b"libmysqlclient.so" in Path(shutil.which(LEDGERD) or "/dev/null").read_bytes(),
    reason="Oracle's libmysqlclient encrypts by itself wherever the server can")
JAAS = ("org.apache.kafka.common.security.{} required {};")


class Authority:
    """A certificate authority, and the certificates that it signs; all for `localhost`."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.ca = folder / "ca.pem"
        self.make(self.ca, "-x509", "-subj", "/CN=test authority")

    def make(self, certificate, *options):
        openssl("req", "-new", "-newkey", "rsa:2048", "-noenc", "-days", "2",
                "-keyout", certificate.with_suffix(".key"), "-out", certificate, *options)

    def sign(self, name):
        """The certificate and its key, and one file that has both."""
        certificate = self.folder / f"{name}.pem"
        self.make(certificate, "-x509", "-CA", self.ca, "-CAkey", self.ca.with_suffix(".key"),
                  "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost",
                  "-addext", "basicConstraints=critical,CA:FALSE")
        key = certificate.with_suffix(".key")
        both = self.folder / f"{name}.both.pem"
        both.write_text(key.read_text() + certificate.read_text())
        return certificate, key, both


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class SecureStack(Stack):
    """A stack whose MySQL and Kafka have certificates."""

    def __init__(self, folder, authority):
        certificate, key, both = authority.sign("server")
        base = free_port_base()
        self.sasl = f"localhost:{ports.free()}"
        self.sasl_tls = f"localhost:{ports.free()}"
        plain = f"PLAINTEXT://127.0.0.1:{base + 9092}"
        both_sasl = f"SASL_PLAINTEXT://{self.sasl},SASL_SSL://{self.sasl_tls}"
        users = JAAS.format("plain.PlainLoginModule", f'user_ledger="{PASSWORD}"')
        kafka_options = {
            "listeners": f"{plain},{both_sasl},CONTROLLER://127.0.0.1:{base + 9093}",
            "advertised.listeners": f"{plain},{both_sasl}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
                                              "SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": both,
        }
        for listener in ("sasl_plaintext", "sasl_ssl"):
            name = f"listener.name.{listener}"
            kafka_options[f"{name}.plain.sasl.jaas.config"] = users
            kafka_options[f"{name}.scram-sha-256.sasl.jaas.config"] = JAAS.format(
                "scram.ScramLoginModule", "")
        super().__init__(folder, port_base=base, kafka_heap="256M", mysql_pool="128M",
                         kafka_options={name: str(value) for name, value in kafka_options.items()},
                         mysql_options={"ssl-cert": str(certificate), "ssl-key": str(key),
                                        "ssl-ca": str(authority.ca)})

    def furnish(self):
        """A database user who must encrypt, and a Kafka user whose password Kafka has as SCRAM."""
        self.mysql.sql(f"CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}' REQUIRE SSL;"
                       f"GRANT ALL ON `ledger\\_%`.* TO '{USER}'@'%'")
        done = self.kafka.tool("kafka.admin.ConfigCommand", "--alter",
                               "--bootstrap-server", self.kafka.address,
                               "--entity-type", "users", "--entity-name", "ledger",
                               "--add-config", f"SCRAM-SHA-256=[password={PASSWORD}]",
                               capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls") / "right")


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls") / "other")


@pytest.fixture(scope="module")
def secure_stack(tmp_path_factory, authority):
    one = SecureStack(tmp_path_factory.mktemp("secure"), authority)
    with one:
        one.furnish()
        yield one


class SecureLedger(Ledger):
    """A ledger whose ledgerd connects by TLS and SASL; the independent eyes use the plain ways."""

    def __init__(self, stack, folder, authority, **options):
        self.authority = authority
        super().__init__(stack, folder, 2, **{
            "mysql_host": "localhost", "mysql_user": USER, "mysql_tls_ca": authority.ca,
            "mysql_password_file": write_password(folder / "mysql-password"),
            "kafka_bootstrap_servers": stack.sasl_tls,
            "kafka_password_file": write_password(folder / "kafka-password"),
            "kafka_properties": sasl_properties("SASL_SSL", authority)} | options)


def write_password(path, password=PASSWORD):
    path.write_text(password + "\n")
    path.chmod(0o600)
    return path


def sasl_properties(protocol, authority, mechanism="PLAIN", **more):
    """As LEDGERD_KAFKA_PROPERTIES takes it."""
    properties = {"security.protocol": protocol, "sasl.mechanism": mechanism,
                  "sasl.username": "ledger", "ssl.ca.location": str(authority.ca)} | more
    return json.dumps(properties)


@pytest.fixture
def secure_ledger(secure_stack, tmp_path, authority):
    made = []

    def make(**options):
        made.append(SecureLedger(secure_stack, tmp_path, authority, **options))
        return made[-1]

    yield make
    for ledger in made:
        ledger.close()


def attempt(ledger, *arguments, **changes):
    """A command with other options: its exit status and all that it says."""
    env = ledger.environment | {f"LEDGERD_{key.upper()}": str(value)
                                for key, value in changes.items()}
    done = subprocess.run([LEDGERD, *arguments], env=env, stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, timeout=120)
    assert PASSWORD not in done.stdout + done.stderr
    assert WRONG_PASSWORD not in done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr


def line_of(text, name):
    """What check-config says of a server."""
    return next(line for line in text.splitlines() if line[:14].split()[1:] == [name])


@contextmanager
def listening_in(port):
    """A relay to a port of this machine: its own port, and all bytes that went through it."""
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept_all, args=(server, port, heard), daemon=True).start()
        yield server.getsockname()[1], heard
        server.shutdown(socket.SHUT_RDWR)


def accept_all(server, port, heard):
    while True:
        try:
            client = server.accept()[0]
        except OSError:
            return
        upstream = socket.create_connection(("127.0.0.1", port))
        for source, sink in ((client, upstream), (upstream, client)):
            threading.Thread(target=carry, args=(source, sink, heard), daemon=True).start()


def carry(source, sink, heard):
    with closing(sink):
        try:
            while data := source.recv(65536):
                heard.append(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


# MySQL


def test_all_connections_encrypted(secure_ledger):
    """The whole way with TLS and passwords from files; what is on the wire to MySQL is no text."""
    ledger = secure_ledger()
    with listening_in(ledger.stack.mysql.port) as (port, heard):
        one = ledger.start(mysql_port=port, log_level="debug")
        ledger.publish([event(f"visible-on-the-wire-{number}", 1) for number in range(100)])
        ledger.publish(random_events(500))
        ledger.wait_consumed()
        ledger.assert_equals_oracle()
        assert one.stop() == 0
    wire = b"".join(heard)
    assert len(wire) > 10_000
    assert b"visible-on-the-wire" not in wire and b"INSERT" not in wire and b"SELECT" not in wire
    ledger.run("verify", "--from-kafka")


@plain_by_default
def test_the_relay_would_hear_plain_text(secure_ledger):
    """What the test before this one rests on."""
    ledger = secure_ledger()
    mysql = ledger.stack.mysql
    with listening_in(mysql.port) as (port, heard):
        status, said = attempt(ledger, "check-config", mysql_tls_ca="", mysql_user=mysql.user,
                               mysql_port=port, mysql_password_file=mysql.password_file)
        assert status == 0, said
    assert b"SELECT" in b"".join(heard)


@plain_by_default
def test_a_user_who_must_encrypt_is_told_so(secure_ledger):
    """REQUIRE SSL: the server lets nobody of that name in without TLS."""
    status, said = attempt(secure_ledger(), "check-config", mysql_tls_ca="")
    assert status == 1
    assert "set mysql.tls_ca" in line_of(said, "mysql")


@pytest.mark.parametrize("command", ["check-config", "migrate", "status"])
def test_another_authority_is_refused(secure_ledger, other_authority, command):
    """Never in plain text instead, even where the account would allow it."""
    ledger = secure_ledger()
    mysql = ledger.stack.mysql
    with listening_in(mysql.port) as (port, heard):
        status, said = attempt(ledger, command, mysql_port=port, mysql_user=mysql.user,
                               mysql_password_file=mysql.password_file,
                               mysql_tls_ca=other_authority.ca)
    assert status == 1
    assert f"mysql.tls_ca {other_authority.ca}" in said
    assert "must hold the authority that signed the server's certificate" in said
    assert heard and mysql.user.encode() not in b"".join(heard)


def test_another_host_name_is_refused(secure_ledger):
    """The certificate is for `localhost`, and 127.0.0.1 is not called so."""
    status, said = attempt(secure_ledger(), "check-config", mysql_host="127.0.0.1")
    assert status == 1
    assert "certificate must be for mysql.host" in line_of(said, "mysql")


def test_a_server_without_tls_is_refused(ledger, authority):
    status, said = attempt(ledger, "check-config", mysql_tls_ca=authority.ca)
    assert status == 1
    assert line_of(said, "mysql").startswith("CHANGE")
    assert str(authority.ca) in line_of(said, "mysql")
    if ledger.stack.mysql.server.title == "MySQL":
        pytest.skip("MySQL makes itself a certificate: it is never without TLS")
    status, said = attempt(ledger, "check-config", mysql_tls_ca=authority.ca,
                           mysql_tls_verify="false")
    assert status == 1
    assert "does not offer TLS" in line_of(said, "mysql")


def test_an_authority_that_is_no_file_is_a_mistake_in_the_configuration(secure_ledger, tmp_path):
    ledger = secure_ledger()
    status, said = attempt(ledger, "run", mysql_tls_ca=tmp_path / "absent.pem")
    assert status == 2
    assert f"mysql.tls_ca: {tmp_path}/absent.pem: No such file" in said
    (tmp_path / "junk.pem").write_text("no certificate")
    status, said = attempt(ledger, "check-config", mysql_tls_ca=tmp_path / "junk.pem")
    assert status == 1
    assert f"{tmp_path}/junk.pem" in line_of(said, "mysql")


def test_a_daemon_waits_while_the_certificate_is_wrong(secure_ledger, other_authority, tmp_path):
    """As for any server that is not as it should be: not ready, the reason in the log; and when the
    right authority has been put there, it goes on."""
    ledger = secure_ledger()
    ca = tmp_path / "ca.pem"
    ca.write_text(other_authority.ca.read_text())
    one = ledger.start(wait=False, mysql_tls_ca=ca)
    eventually(lambda: "waiting for the servers" in one.log)
    assert f"mysql.tls_ca {ca}" in one.log
    assert one.get("/readyz")[0] == 503
    ca.write_text(ledger.authority.ca.read_text())
    one.wait_ready()


def test_mysql_by_socket_and_tls(secure_ledger):
    ledger = secure_ledger()
    ledger.environment |= {"LEDGERD_MYSQL_SOCKET": str(ledger.stack.mysql.socket),
                           "LEDGERD_MYSQL_PORT": "1", "LEDGERD_MYSQL_HOST": "nowhere.invalid"}
    assert attempt(ledger, "check-config", mysql_tls_ca="")[0] == 1
    ledger.start()
    ledger.publish([event("a", 1)])
    ledger.wait_consumed()
    ledger.run("verify")


# Kafka


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_kafka_with_a_password(secure_ledger, protocol):
    """produce, run and verify; kafka-python and confluent-kafka look on from the plain side."""
    ledger = secure_ledger()
    stack = ledger.stack
    ledger.environment |= {
        "LEDGERD_KAFKA_BOOTSTRAP_SERVERS": stack.sasl if "PLAIN" in protocol else stack.sasl_tls,
        "LEDGERD_KAFKA_PROPERTIES": sasl_properties(protocol, ledger.authority,
                                                    **{"compression.type": "gzip"})}
    status, said = attempt(ledger, "check-config")
    assert status == 0, said
    ledger.run("produce", input=b"\n".join(random_events(300)) + b"\n")
    assert sum(ledger.log_ends()) == 300
    ledger.start()
    ledger.wait_consumed()
    ledger.assert_equals_oracle()
    ledger.run("verify", "--from-kafka")


def test_kafka_with_a_wrong_password(secure_ledger, tmp_path):
    ledger = secure_ledger()
    ledger.start()
    ledger.publish([event("a", 1)])
    ledger.wait_consumed()
    ledger.instances[0].stop()
    wrong = {"kafka_password_file": write_password(tmp_path / "wrong", WRONG_PASSWORD)}
    commands = [["check-config"], ["produce", "--generate", "10"], ["verify", "--from-kafka"]]
    with ThreadPoolExecutor() as pool:
        tried = list(pool.map(lambda command: attempt(ledger, *command, **wrong), commands))
    for status, said in tried:
        assert status == 1
        assert "Invalid username or password" in said
        assert "LEDGERD_KAFKA_PASSWORD or kafka.password_file" in said
    two = ledger.start("two", wait=False, **wrong)
    eventually(lambda: "Kafka refuses us" in two.log)
    assert "Invalid username or password" in two.log
    assert two.get("/readyz")[0] == 503
    assert WRONG_PASSWORD not in two.log
    assert two.stop() == 0


def test_kafka_with_another_authority(secure_ledger, other_authority):
    status, said = attempt(secure_ledger(), "check-config",
                           kafka_properties=sasl_properties("SASL_SSL", other_authority))
    assert status == 1
    assert "certificate verify failed" in line_of(said, "kafka")
    assert "check ssl.ca.location" in line_of(said, "kafka")


def test_kafka_that_expects_another_protocol(secure_ledger):
    status, said = attempt(secure_ledger(), "check-config", kafka_properties="{}")
    assert status == 1
    assert "security.protocol in kafka.properties" in line_of(said, "kafka")


def test_kafka_by_scram(secure_ledger):
    """librdkafka before 2.6.1 cannot, and then the reason is named."""
    ledger = secure_ledger()
    scram = sasl_properties("SASL_SSL", ledger.authority, "SCRAM-SHA-256")
    status, said = attempt(ledger, "check-config", kafka_properties=scram)
    if confluent_kafka.libversion()[1] >= 0x020601ff:
        assert status == 0, said
    else:
        assert status == 1
        assert "librdkafka before 2.6.1 cannot log in to Kafka 4 by SCRAM" in line_of(said, "kafka")


# Passwords


@pytest.mark.parametrize("way", ["file", "environment", "properties"])
def test_passwords_are_nowhere(secure_ledger, tmp_path, way):
    """However they were given: not in the log, not on the command line, nor told by anything that
    ledgerd answers or prints."""
    ledger = secure_ledger()
    options = {"log_level": "debug"}
    if way != "file":
        options |= {"mysql_password_file": "", "mysql_password": PASSWORD}
        options |= {"kafka_password_file": "", "kafka_password": PASSWORD}
    if way == "properties":
        options["kafka_password"] = ""
        options["kafka_properties"] = sasl_properties("SASL_SSL", ledger.authority,
                                                      **{"sasl.password": PASSWORD})
    for command in ("check-config", "status", "--help-config"):
        assert attempt(ledger, command, **options)[0] == 0  # it looks for the password itself
    one = ledger.start(**options)
    ledger.publish(random_events(100))
    ledger.wait_consumed()
    eventually(lambda: "running" in one.log)
    line = Path(f"/proc/{one.process.pid}/cmdline").read_text()
    told = [one.get(page)[1] for page in ("/metrics", "/healthz", "/readyz", "/status")]
    assert one.stop() == 0
    for text in [one.log, line, *told]:
        assert PASSWORD not in text


@pytest.mark.parametrize(("section", "option"), [("mysql", "password_file"),
                                                 ("kafka", "password_file")])
def test_a_password_file_that_is_no_file(secure_ledger, section, option):
    status, said = attempt(secure_ledger(), "check-config",
                           **{f"{section}_{option}": "/nowhere/password"})
    assert status == 2
    assert f"{section}.{option}: /nowhere/password: No such file" in said
