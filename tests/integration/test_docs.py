"""What a person at 3 a.m. is told leads somewhere: links, sections that the program names, and its
warnings."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = ROOT / "docs" / "OPERATIONS.md"
PAGES = [path for folder in (".", "docs", "deploy", "consumer", "leader", "common", "outbox", "sql", "lua",
                             "bench", "tests") for path in sorted((ROOT / folder).glob("*.md"))]
SOURCES = [path for folder in ("common", "consumer", "leader", "outbox")
           for path in sorted((ROOT / folder).glob("*.c"))]
LITERAL = r'"((?:[^"\\]|\\.)*)"'


def anchors(path):
    """The anchors of a Markdown page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def joined(path):
    """A source in which adjacent literals are one."""
    return re.sub(r'(?<!\\)"\s+"', "", path.read_text())


def warnings():
    """The message of each log_warn and log_error; both, where a condition chooses."""
    found = set()
    for path in SOURCES:
        text = joined(path)
        if path.name == "sample.c":  # logs what drift_text says
            found.update(re.findall(LITERAL, text.partition("texts[DRIFTS] = {")[2].partition("};")[0]))
        for call in re.findall(r"\blog_(?:warn|error)\(\s*(.*?)(?:,\s*L[A-Z]\(|\)\s*;)",
                               text, re.S):
            found.update(re.findall(LITERAL, call))
    return sorted(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


def test_sections_that_messages_name_exist():
    headings = re.findall(r"^#+ (.+)$", OPERATIONS.read_text(), re.M)
    named = {name for path in SOURCES
             for name in re.findall(r'OPERATIONS, \\"([^"\\]+)\\"', joined(path))}
    assert len(named) >= 5
    assert named <= set(headings)


def test_every_warning_is_told():
    """A message at level warn or error stands in the table of OPERATIONS, or begins with what does."""
    table = OPERATIONS.read_text().partition("## Log messages")[2]
    told = re.findall(r"`([^`]+)`", table)
    found = warnings()
    assert len(found) > 20
    missing = [message for message in found
               if not any(message.startswith(one) for one in told)]
    assert not missing
