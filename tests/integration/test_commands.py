"""The command line: usage, configuration, exit statuses, and what the reading commands say."""

import json
import subprocess

import pytest

from harness import LEDGERD, event, eventually, random_events

COMMANDS = ["run", "migrate", "check-config", "produce", "replay", "verify", "status", "statement"]


def ledgerd(*arguments, env=None):
    return subprocess.run([LEDGERD, *arguments], capture_output=True, text=True, env=env, timeout=60)


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_fits_a_screen(command):
    done = ledgerd(*([command] if command else []), "--help")
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 100
    assert done.stdout.startswith("usage: ledgerd")


def test_version():
    assert ledgerd("--version").stdout.startswith("ledgerd ")


@pytest.mark.parametrize("arguments", [
    [], ["dance"], ["run", "--fast"], ["status", "too", "much"], ["statement"],
    ["statement", "abc"], ["statement", "1", "usd"], ["statement", "1", "--limit", "0"],
    ["produce", "--generate", "-1"], ["run", "-c", "/does/not/exist.yaml"]])
def test_bad_usage(arguments):
    done = ledgerd(*arguments)
    assert done.returncode == 2
    assert done.stderr


@pytest.mark.parametrize(("text", "place"), [
    ("mysql: {hots: x}", ":1:9:"),
    ("consumer:\n  batch_max_events: many", ":2:21:"),
    ("lease: {ttl_ms: 1}", ":1:17:"),
    ("kafka: {properties: {isolation.level: read_uncommitted}}", ":1:"),
    ("mysql: {password: secret}", ":1:9:"),
    ("mysql: [", ":2:1:"),
])
def test_bad_configuration(tmp_path, text, place):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    done = ledgerd("run", "-c", str(path))
    assert done.returncode == 2
    assert f"{path}{place}" in done.stderr
    assert "secret" not in done.stderr


def test_statement(ledger):
    ledger.start()
    ledger.publish([event("a", 7, amount="10"), event("b", 7, "FREEZE", "4"),
                    event("c", 7, "WITHDRAW", "7"), event("d", 7, amount="1", currency="BTC")])
    ledger.wait_consumed()
    found = json.loads(ledger.run("statement", 7, "USDT", "--json"))
    rows = found["transactions"]
    assert [row["transaction_id"] for row in rows] == ["c", "b", "a"]
    assert rows[1]["before"] == {"available": "10", "frozen": "0"}
    assert rows[1]["after"] == {"available": "6", "frozen": "4"}
    assert rows[0]["status"] == "FAILED"
    assert len(json.loads(ledger.run("statement", 7, "--limit", 2, "--json"))["transactions"]) == 2
    assert "10" in ledger.run("statement", 7)


def test_status(ledger):
    one = ledger.start()
    ledger.publish(random_events(100))
    ledger.wait_consumed()
    found = json.loads(ledger.run("status", "--json"))
    assert [row["partition"] for row in found["partitions"]] == [0, 1]
    assert {row["owner"] for row in found["partitions"]} == {"one"}
    assert [row["lag"] for row in found["partitions"]] == [0, 0]
    status, body = one.get("/status")
    assert status == 200
    assert [row["next_offset"] for row in json.loads(body)["partitions"]] == ledger.next_offsets()
    assert "one" in ledger.run("status")


def test_mysql_by_socket(ledger):
    ledger.environment |= {"LEDGERD_MYSQL_SOCKET": str(ledger.stack.mysql.socket),
                           "LEDGERD_MYSQL_PORT": "1"}
    ledger.start()
    ledger.publish([event("a", 1)])
    ledger.wait_consumed()
    assert "one" in ledger.run("status")


def test_migrate_is_safe_to_repeat(ledger):
    assert "up to date" in ledger.run("migrate")


@pytest.mark.parametrize(("change", "remedy"), [
    ("DELETE FROM schema_migrations ORDER BY number DESC LIMIT 1", "ledgerd migrate"),
    ("INSERT INTO schema_migrations (number, name, checksum) VALUES (9999, 'later', REPEAT('0', 64))",
     "newer ledgerd"),
])
def test_another_schema_is_refused(ledger, change, remedy):
    ledger.sql(change)
    one = ledger.start(wait=False)
    assert one.process.wait(60) == 1
    assert remedy in one.log


def test_metrics_pass_promtool(ledger):
    one = ledger.start()
    ledger.publish(random_events(200))
    ledger.wait_consumed()
    status, body = one.get("/metrics")
    assert status == 200
    checked = subprocess.run(["promtool", "check", "metrics"], input=body, text=True,
                             capture_output=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stderr == ""


def test_http_of_a_port_that_is_taken(ledger):
    one = ledger.start()
    two = ledger.start("two", wait=False, http_listen=one.http)
    assert two.process.wait(60) == 2
    assert one.http in two.log


def test_passwords_are_nowhere(ledger):
    """Not in the log, not on the command line."""
    one = ledger.start(log_level="debug")
    password = ledger.stack.mysql.password
    with open(f"/proc/{one.process.pid}/cmdline") as line:
        assert password not in line.read()
    eventually(lambda: "running" in one.log)
    assert password not in one.log
