"""Alert rules and dashboard: every metric exists, every query answers on a running Prometheus, every
alert leads to a section of docs/OPERATIONS.md."""

import json
import re
import subprocess
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness import event, eventually
from stacklib import ports
from test_docs import anchors
from test_halts import wait_halted
from test_restore import Load

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "ledgerd.rules.yml"
DASHBOARD = json.loads((DEPLOY / "grafana" / "ledgerd.json").read_text())
SUFFIXES = ("_bucket", "_sum", "_count", "")
DOCUMENTED = set(re.findall(r"^### (\w+)$", (ROOT / "docs" / "METRICS.md").read_text(), re.M))


def names_in(text):
    return set(re.findall(r"\b(?:ledger|process)_[a-z_]+\b", text))


def family(name):
    """The family of a sample's name, if it is documented."""
    for suffix in SUFFIXES:
        if name.endswith(suffix) and name[:len(name) - len(suffix)] in DOCUMENTED:
            return name[:len(name) - len(suffix)]
    return None


def alerts():
    """Name and body of each alert, without a YAML library."""
    parts = re.split(r"^      - alert: (\w+)\n", RULES.read_text(), flags=re.M)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def dashboard_queries():
    return [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"]
            for target in panel.get("targets", [])]


# Without servers.

def test_rules_fire_on_their_series():
    done = subprocess.run(["promtool", "test", "rules", "ledgerd.rules.test.yml"], text=True,
                          cwd=RULES.parent, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested():
    tests = (RULES.parent / "ledgerd.rules.test.yml").read_text()
    for name in alerts():
        assert f"alertname: {name}}}" in tests, f"{name}: where does it not fire?"
        assert f"alertname: {name}\n        exp_alerts:" in tests, f"{name}: where does it fire?"


@pytest.mark.parametrize("name", alerts())
def test_alert_leads_to_its_section(name):
    body = alerts()[name]
    assert re.search(r"labels: \{severity: (critical|warning)\}", body)
    assert re.search(r"summary: .{30}", body)
    page, _, anchor = re.search(r"runbook_url: (\S+)", body)[1].partition("#")
    assert page == "docs/OPERATIONS.md"
    assert anchor in anchors(ROOT / page), f"no section #{anchor}"
    assert name in (ROOT / page).read_text(), "the section names its alert"


@pytest.mark.parametrize("path", [
    "deploy/prometheus/ledgerd.rules.yml", "deploy/prometheus/ledgerd.rules.test.yml",
    "deploy/grafana/ledgerd.json", "docs/METRICS.md", "docs/OPERATIONS.md",
    "docs/ARCHITECTURE.md", "README.md", "consumer/page/page.js"])
def test_metrics_that_are_named_exist(path):
    text = (ROOT / path).read_text()
    columns = {"ledger_meta"}  # a table
    assert not {name for name in names_in(text) - columns if not family(name)}


# With a running ledger.

@contextmanager
def prometheus(folder, targets):
    """A Prometheus of its own, as deploy/prometheus/scrape.yml has it but faster. Its address."""
    config = (RULES.parent / "scrape.yml").read_text()
    config = config.replace("15s", "1s").replace('"127.0.0.1:9105"', json.dumps(targets)[1:-1])
    config = config.replace("ledgerd.rules.yml", str(RULES))
    path = folder / "prometheus.yml"
    path.write_text(config)
    subprocess.run(["promtool", "check", "config", path], check=True, stdout=subprocess.DEVNULL)
    address = f"127.0.0.1:{ports.free()}"
    with open(folder / "prometheus.log", "wb") as log:
        process = subprocess.Popen(
            ["prometheus", f"--config.file={path}", f"--storage.tsdb.path={folder}/tsdb",
             f"--web.listen-address={address}"], stderr=log, stdout=log)
    try:
        eventually(lambda: answers(address), what="Prometheus is there")
        yield address
    finally:
        process.terminate()
        process.wait(30)


def answers(address):
    try:
        return urllib.request.urlopen(f"http://{address}/-/ready", timeout=2).status == 200
    except OSError:
        return False


def ask(address, path, **query):
    url = f"http://{address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)["data"]


def firing(address):
    return {alert["labels"]["alertname"] for alert in ask(address, "alerts")["alerts"]
            if alert["state"] == "firing"}


def unanswered(address):
    """The queries of the dashboard to which there is no answer now."""
    empty = []
    for title, query in dashboard_queries():
        query = query.replace("$__rate_interval", "10s").replace("$job", "ledgerd.*")
        assert "$" not in query
        result = ask(address, "query", query=query)["result"]
        if not result or any(sample["value"][1] == "NaN" for sample in result):
            empty.append((title, query, result))
    return empty


def unseen(address):
    """The metrics that are documented or used, and were never scraped."""
    scraped = set(ask(address, "label/__name__/values"))
    used = names_in(" ".join(query for _, query in dashboard_queries()) + RULES.read_text())
    return (used - scraped) | (DOCUMENTED - {family(name) for name in scraped})


def becomes_empty(found, what):
    """An answer may take some more events and scrapes; what stays is told."""
    try:
        eventually(lambda: not found(), what=what, every_s=1)
    except AssertionError:
        assert not found()


def test_every_query_has_an_answer(make_ledger, tmp_path):
    """Under a little load, with two instances; and no alert but the one on the dead letters. The
    order of ids is told after some thousands."""
    ledger = make_ledger(consumer_batch_max_events=100)
    one, two = ledger.start("one"), ledger.start("two")
    with prometheus(tmp_path, [one.http, two.http]) as address:
        eventually(lambda: len(ask(address, "query", query="up == 1")["result"]) == 2, what="scraped")
        ledger.run("produce", "--generate", 30000)
        with Load(ledger, "p", events=50, pause_s=0.5):
            becomes_empty(lambda: unanswered(address), "every query has an answer")
            becomes_empty(lambda: unseen(address), "every metric is there")
            eventually(lambda: "LedgerdDeadLetters" in firing(address), what="the alert")
        variable = DASHBOARD["templating"]["list"][1]["query"]["query"]
        name, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable).groups()
        assert ask(address, f"label/{label}/values", **{"match[]": name}) == ["ledgerd"]
        rules = [rule for group in ask(address, "rules")["groups"] for rule in group["rules"]]
        assert {rule["name"] for rule in rules} == set(alerts())
        assert {rule["health"] for rule in rules} == {"ok"}, "an alert fired: they were evaluated"
        assert firing(address) == {"LedgerdDeadLetters"}


def test_a_halt_fires(make_ledger, tmp_path):
    ledger = make_ledger(1)
    one = ledger.start()
    ledger.publish([event("a", 1)])
    ledger.wait_consumed()
    with prometheus(tmp_path, [one.http]) as address:
        eventually(lambda: ask(address, "query", query="up == 1")["result"], what="scraped")
        assert firing(address) == set()
        ledger.sql("RENAME TABLE account_balances TO hidden")
        ledger.publish([event("b", 1)])
        wait_halted(ledger)
        eventually(lambda: "LedgerdPartitionHalted" in firing(address), what="the alert")
        ledger.sql("RENAME TABLE hidden TO account_balances")
