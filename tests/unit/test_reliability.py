"""docs/RELIABILITY.md names tests and planted bugs: each of them exists, and each bug is named."""

import re
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "tests" / "sim"))
from planted import BUGS  # noqa: E402

PAGE = (ROOT / "docs" / "RELIABILITY.md").read_text(encoding="utf-8")
TESTS = [path for folder in ("unit", "database", "kafka", "integration", "fuzz", "torture")
         for pattern in ("*.c", "*.py") for path in (ROOT / "tests" / folder).glob(pattern)]
NAME = r"`([a-z0-9-]+)`"


def functions():
    found = set()
    for path in TESTS:
        found.update(re.findall(r"^(?:static void|def) (test_\w+)\(",
                                path.read_text(encoding="utf-8"), re.M))
    return found


def named_bugs():
    named = set()
    for names in re.findall(rf"\bbugs? ({NAME}(?:(?:,|\s|and)+{NAME})*)", PAGE):
        named.update(re.findall(NAME, names[0]))
    named.update(re.findall(rf"^\| {NAME} \|", PAGE, re.M))
    return named


class Reliability(unittest.TestCase):
    def test_named_tests_exist(self):
        named = {name for name in re.findall(r"`(test_\w+)`", PAGE)}
        self.assertGreater(len(named), 40)
        self.assertEqual(set(), named - functions())

    def test_named_files_exist(self):
        named = set(re.findall(r"`(tests/[\w/.]+)`", PAGE))
        self.assertEqual(set(), {name for name in named if not (ROOT / name).exists()})

    def test_every_planted_bug_is_named_and_no_other(self):
        self.assertEqual(set(BUGS), named_bugs())


if __name__ == "__main__":
    unittest.main()
