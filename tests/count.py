"""Adds up JUnit files and prints one plain line: N passed, N failed, N skipped.

    count.py [--failed-stages N] FILE...

A stage of tests/run that failed without a failed test in a file (a build, a linter) counts as one.
Exit status 1 if anything failed, or if nothing ran at all.
"""

import argparse
import sys
import xml.etree.ElementTree as xml


def cases(path):
    yield from xml.parse(path).getroot().iter("testcase")


def outcome(case):
    for child in case:
        if child.tag in ("failure", "error"):
            return "failed"
        if child.tag == "skipped":
            return "skipped"
    return "passed"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--failed-stages", type=int, default=0)
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for path in options.files:
        for case in cases(path):
            counts[outcome(case)] += 1
            if outcome(case) == "failed":
                print(f"failed: {case.get('classname')} {case.get('name')}")
    counts["failed"] = max(counts["failed"], options.failed_stages)
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
