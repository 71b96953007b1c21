"""One private stack for the whole run, and a ledger of its own for every test."""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Kafka is fetched only once, for all tests and for the stack of deploy/stack itself.
os.environ.setdefault("STACK_CACHE", str(ROOT / "build" / "stack" / "cache"))
# ledgerd refuses variables that begin with its name and are not its own.
KEPT_STACK = os.environ.pop("LEDGERD_TEST_STACK", None)
sys.path[:0] = [str(ROOT / "deploy"), str(Path(__file__).parent)]

from harness import Ledger  # noqa: E402
from stack import Stack, free_port_base  # noqa: E402


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    """Kafka, a database and Redis; a test that kills one starts it again before it ends."""
    folder = KEPT_STACK or tmp_path_factory.mktemp("stack")
    one = Stack(folder, port_base=free_port_base(), kafka_heap="512M", mysql_pool="512M")
    one.start()
    yield one
    one.stop()


@pytest.fixture
def make_ledger(stack, tmp_path):
    """Makes ledgers with the number of partitions and the options asked for."""
    made = []

    def make(partitions=2, **options):
        stack.start()
        made.append(Ledger(stack, tmp_path, partitions, **options))
        return made[-1]

    yield make
    stack.start()
    for ledger in made:
        ledger.close()


@pytest.fixture
def ledger(make_ledger):
    return make_ledger()
