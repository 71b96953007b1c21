"""The reader of the log against the stack's Kafka: transactions, deleted records, topics that are
deleted, made anew and grown, a damaged batch.

The tests themselves are in tests/kafka/test_topic_broker.c; each is a process of its own here.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "tests" / "kafka" / "test_topic_broker.c"
NAMES = re.findall(r"^\t\tTEST\((\w+)\)", SOURCE.read_text(), re.MULTILINE)
TIMEOUT_S = 120


def find_program():
    """Built beside ledgerd, in tests/kafka."""
    for folder in Path(os.environ.get("LEDGERD", "ledgerd")).resolve().parents[:2]:
        program = folder / "tests" / "kafka" / "test_topic_broker"
        if program.exists():
            return str(program)
    return pytest.fail("no test_topic_broker beside $LEDGERD")


@pytest.mark.parametrize("name", NAMES)
def test_topic_broker(stack, name):
    stack.start()
    environment = dict(os.environ, LEDGERD_TEST_KAFKA=stack.kafka.address,
                       LEDGERD_TEST_KAFKA_DATA=str(stack.kafka.data))
    done = subprocess.run([find_program(), name], env=environment, timeout=TIMEOUT_S,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert f"OK ] {name}" in done.stdout
