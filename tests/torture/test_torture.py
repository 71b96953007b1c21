"""The short torture: every kind of fault at least once, in about a minute and a half."""

import random
import sys

import paths  # noqa: F401
import pytest
from faults import NEEDS_DISK
from screen import Screen
from torture import torture

MINUTES = 0.6


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    seed = str(random.SystemRandom().randrange(10 ** 6))
    report = torture(tmp_path_factory.mktemp("torture"), seed, MINUTES, Screen(sys.stderr))
    print(*report.lines(), sep="\n", file=sys.stderr)
    return report


def test_nothing_differs_and_nobody_halts_or_dies(report):
    assert not report.failures, "\n".join(report.failures)


def test_every_kind_of_fault_was_inflicted(report):
    assert [kind for kind, times in report.faults.items() if times == 0] == []


def test_the_disk_was_full(report):
    if NEEDS_DISK in report.skipped:
        pytest.skip(report.skipped[NEEDS_DISK])
    assert report.faults[NEEDS_DISK] > 0


def test_the_ledger_had_something_to_do(report):
    """Messages of every outcome, leases that were handed over, and owners that were fenced."""
    assert min(report.outcomes.get(outcome, 0)
               for outcome in ("applied", "refused", "duplicate", "dead_letter")) > 0
    assert report.acquired > report.partitions and report.fenced
