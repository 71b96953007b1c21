"""`bench/run` works and tells what it measured in the form that was agreed on. No rates here."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from harness import LEDGERD, event, random_events

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(LEDGERD).resolve().parents[1]


def bench(folder, *arguments):
    argv = [ROOT / "bench" / "run", *arguments, "--dir", folder, "--build", BUILD]
    return subprocess.run(list(map(str, argv)), capture_output=True, text=True, timeout=1200,
                          env=os.environ)


def test_help_fits_a_screen(tmp_path):
    done = bench(tmp_path, "--help")
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) <= 40 and max(map(len, lines)) <= 100


@pytest.mark.parametrize("arguments", [["dance"], ["--events", "0"], ["--pool", "much"]])
def test_bad_usage(tmp_path, arguments):
    done = bench(tmp_path, *arguments)
    assert done.returncode == 2 and done.stderr and "Traceback" not in done.stderr


def quick(tmp_path, *arguments):
    """A run's output, and its figures."""
    path = tmp_path / "figures.json"
    done = bench(tmp_path / "bench", *arguments, "--quick", "--partitions", "2", "--pool", "256M",
                 "--redo", "256M", "--json", path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "bench" / "stack").exists()  # nothing is left running in it
    return done.stdout, json.loads(path.read_text())


def test_a_quick_run_writes_all_figures(tmp_path):
    said, found = quick(tmp_path, "--events", "40000", "--accounts", "1000", "--batch", "2000",
                        "--seconds", "1")
    assert set(found) == {"end_to_end", "latency_ms", "ledgerd", "settings", "machine", "details"}

    ends, latency, own = found["end_to_end"], found["latency_ms"], found["ledgerd"]
    assert set(ends) == {"events_per_second", "ceiling_events_per_second", "ratio"}
    assert ends["ratio"] == pytest.approx(
        ends["events_per_second"] / ends["ceiling_events_per_second"])
    assert set(latency) == {"p50", "p95", "p99"}
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
    assert set(own) == {"cpu_ns_per_event", "rss_max_bytes"}
    assert own["cpu_ns_per_event"] > 100 and own["rss_max_bytes"] > 1 << 20

    settings = found["settings"]
    assert settings["mysql"]["innodb_flush_log_at_trx_commit"] == "1"
    assert settings["redis"] is True and settings["events"] == 40000
    assert found["machine"]["cores"] == os.cpu_count()
    assert found["details"]["ceiling"]["events"] == 40000
    assert found["details"]["load"]["published"] > 0
    assert "of the ceiling" in said


def test_memory_counts_the_balances(tmp_path):
    found = quick(tmp_path, "memory", "--accounts", "5000")[1]["memory"]
    for round_of in ("made", "loaded"):
        assert found[round_of]["balances"] == 5000
        assert found[round_of]["rss_max_bytes"] > 1 << 20


def test_replay_is_measured(tmp_path):
    found = quick(tmp_path, "replay", "--events", "5000", "--accounts", "1000")[1]["replay"]
    assert found["events"] == 5000
    assert all(found[f"{way}events_per_second"] > 0 for way in ("", "at_once_", "end_to_end_"))


def row_locks(ledger, threads):
    done = subprocess.run([BUILD / "bench" / "bench-row-locks", str(threads), "100000"],
                          env=ledger.environment, input="go\n", capture_output=True, text=True,
                          timeout=600)
    assert done.returncode == 0, done.stderr
    ready, figures = done.stdout.splitlines()
    assert ready == "prepared"
    return json.loads(figures)


def test_row_locks_keep_the_rules(make_ledger):
    """One thread after the other's log: row for row what the oracle makes of it."""
    ledger = make_ledger(partitions=2)
    ledger.publish(random_events(2000))
    figures = row_locks(ledger, 1)
    oracle = ledger.oracle()
    ledger.assert_journal(oracle)
    ledger.assert_balances(oracle)
    assert figures["events"] - figures["duplicates"] == len(oracle.rows)
    assert figures["refused"] == sum(row.status == "FAILED" for row in oracle.rows.values())
    assert 0 < figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"]


def test_row_locks_lose_nothing_between_threads(make_ledger):
    ledger = make_ledger(partitions=2)
    ledger.publish([event(f"d-{number}", 1 + number % 3) for number in range(900)])
    assert row_locks(ledger, 8)["duplicates"] == 0
    found = {row["account_id"]: (row["available"], row["version"])
             for row in ledger.sql("SELECT account_id, available, version FROM account_balances")}
    assert found == {account: (300, 300) for account in (1, 2, 3)}


@pytest.mark.parametrize(("what", "key"), [
    ("latency", "latency_curve"), ("hot", "hot"), ("accounts", "accounts")])
def test_other_measures_write_their_figures(tmp_path, what, key):
    """And the page shows them."""
    found = quick(tmp_path, what, "--events", "20000", "--accounts", "1000", "--batch", "2000",
                  "--seconds", "1")[1]
    assert found[key]
    page = tmp_path / "page.html"
    done = subprocess.run([ROOT / "bench" / "report", tmp_path / "figures.json", "--out", page],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "<svg" in page.read_text()


def test_the_ceiling_writes_what_ledgerd_would(make_ledger):
    """Row for row what the oracle makes of the log: so it is a ceiling of the same work."""
    ledger = make_ledger(partitions=2, consumer_batch_max_events=500)
    ledger.publish(random_events(3000))
    for partition in range(ledger.partitions):
        ledger.publish_to(partition, b"1", b"not an event")
        ledger.sql("INSERT INTO partition_offsets (kafka_partition, epoch) VALUES (%s, 1)",
                   partition)
    done = subprocess.run([BUILD / "bench" / "bench-ceiling"], env=ledger.environment,
                          input="go\n", capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    ready, figures = done.stdout.splitlines()
    assert ready == "prepared"
    assert json.loads(figures)["events"] == sum(ledger.log_ends())
    assert ledger.next_offsets() == ledger.log_ends()
    ledger.assert_equals_oracle(redis=False)
