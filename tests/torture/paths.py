"""Where the stack (deploy/), the harness and the oracle (tests/integration/) are found."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = map(str, (Path(__file__).parent, ROOT / "deploy", ROOT / "tests" / "integration"))

# Kafka is fetched only once, for all tests and for the stack of deploy/stack itself.
os.environ.setdefault("STACK_CACHE", str(ROOT / "build" / "stack" / "cache"))
