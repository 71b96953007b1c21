"""Adds up JUnit files and prints one plain line: N passed, N failed, N skipped.

    count.py FOLDER STAGE=STATUS...

FOLDER has files named STAGE.*.xml. A stage without any (a build, a checker) counts as one test, and so
does one that failed without a failed test in its files (a program that died). Exit status 1 if anything
failed.
"""

import re
import sys
import xml.etree.ElementTree as xml
from collections import Counter
from pathlib import Path

NOT_XML = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # Meson copies what tests print as it is


def cases(path):
    text = NOT_XML.sub(b"", path.read_bytes()).decode(errors="replace")
    yield from xml.fromstring(text.encode()).iter("testcase")


def outcome(case):
    for child in case:
        if child.tag in ("failure", "error"):
            return "failed"
        if child.tag == "skipped":
            return "skipped"
    return "passed"


def main(folder, stages):
    counts = Counter()
    unseen = dict(stage.split("=") for stage in stages)
    for path in sorted(Path(folder).glob("*.xml")):
        stage = path.name.split(".")[0]
        for case in cases(path):
            counts[outcome(case)] += 1
            if outcome(case) != "passed":
                print(f"{path.stem}: {outcome(case)}: {case.get('classname')} {case.get('name')}")
            if outcome(case) == "failed" or unseen.get(stage) == "0":
                unseen.pop(stage, None)
    for stage, status in sorted(unseen.items()):
        counts["passed" if status == "0" else "failed"] += 1
        if status != "0":
            print(f"{stage}: failed")
    print(", ".join(f"{counts[word]} {word}" for word in ("passed", "failed", "skipped")))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
