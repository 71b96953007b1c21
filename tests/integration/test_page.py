"""The status page, in a browser: what it shows is what /status says, and nothing leaves its origin."""

import json
import os
import urllib.request

import pytest

from browser import Browser
from harness import event, eventually, random_events
from test_halts import wait_halted

SHOTS = os.environ.get("PAGE_SHOTS")  # a folder: screenshots are left there, for people

ROWS = """[...document.querySelectorAll("#partitions tbody tr")].map((row) => Object.fromEntries(
    [...row.children].map((cell) => [cell.dataset.name, cell.textContent])))"""


@pytest.fixture(scope="module")
def browser():
    with Browser() as one:
        yield one


@pytest.fixture
def visit(browser):
    """Opens the page of an instance, and waits until it has drawn something."""
    def open_page(instance, **options):
        browser.open("about:blank")  # the page of the test before has nobody to ask any more
        browser.complaints.clear()
        browser.requests.clear()
        browser.open(f"http://{instance.http}/", **options)
        eventually(lambda: browser.run(
            "(document.getElementById('updated') || {}).textContent || ''").startswith("Updated"),
            what="the page was drawn")
        return browser

    return open_page


def text(browser, selector):
    return browser.run(f"document.querySelector({json.dumps(selector)}).innerText")


def complains(browser, words):
    """What the browser notes comes with the answer to a later question."""
    browser.run("1")
    return any(words in json.dumps(note) for note in browser.complaints)


def shoot(browser, name):
    if SHOTS:
        browser.screenshot(f"{SHOTS}/{name}.png")


def number(shown):
    return None if shown == "?" else int(shown.replace(",", ""))


def test_rows_are_what_status_says(make_ledger, visit):
    ledger = make_ledger(3)
    one = ledger.start()
    ledger.publish(random_events(3000))
    ledger.wait_consumed()
    one.wait_counted()
    eventually(lambda: [p["lag"] for p in json.loads(one.get("/status")[1])["partitions"]] == [0] * 3,
               what="no lag")
    browser = visit(one)
    partitions = json.loads(one.get("/status")[1])["partitions"]
    rows = browser.run(ROWS)
    assert len(rows) == 3
    for row, partition in zip(rows, partitions, strict=True):
        assert number(row["partition"]) == partition["partition"]
        assert row["state"] == "owned" == partition["state"]
        assert row["owner"] == "one" == partition["owner"]
        assert number(row["lag"]) == partition["lag"]
        assert number(row["next"]) == partition["next_offset"]
        assert number(row["end"]) == partition["high_watermark"]
    counts = text(browser, "#counts").replace(",", "").split("\n")
    counts = dict(zip(counts[::2], counts[1::2], strict=True))
    for name, result in (("Applied", "applied"), ("Refused (no funds)", "refused"),
                         ("Duplicates", "duplicate"), ("Dead letters", "dead_letter")):
        assert int(counts[name]) == one.metric("ledger_events_total", result=result)
    assert "All 3 partitions are owned" in text(browser, "#verdict")
    assert "one (this one): owns 3 of 3" in text(browser, "#instances")
    assert "✓ ok mysql" in text(browser, "#checks")
    assert browser.complaints == []
    assert browser.requests
    assert {address.rpartition("/")[0] for address in browser.requests
            if not address.startswith("data:")} == {f"http://{one.http}"}


@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (320, False), (1200, True)])
def test_it_fits_the_screen(make_ledger, visit, width, dark):
    """No scrolling sideways; and the plots are there."""
    ledger = make_ledger(2)
    one = ledger.start("an-instance-with-a-rather-long-name.example.org-1234567")
    ledger.publish(random_events(300))
    ledger.wait_consumed()
    browser = visit(one, width=width, height=844, dark=dark)
    assert browser.run("innerWidth") == width
    assert browser.run("document.documentElement.scrollWidth") <= width
    eventually(lambda: "L" in (browser.run("document.querySelector('svg .stroke').getAttribute('d')")
                               or ""), what="a line in the first plot")
    assert browser.run("""[...document.querySelectorAll("svg")].every(
        (one) => one.getAttribute("aria-label").length > 10)""")
    background = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 200) == dark
    shoot(browser, f"page-{width}-{'dark' if dark else 'light'}")
    assert browser.complaints == []


def test_a_halt_is_shown_as_text_whatever_it_says(make_ledger, visit):
    """The reason of a halt comes from outside: it is never taken for HTML."""
    ledger = make_ledger(2)
    one = ledger.start()
    here = ledger.account_in(0)
    ledger.publish([event("a", here)])
    ledger.wait_consumed()
    ledger.sql("RENAME TABLE account_balances TO hidden")
    ledger.publish([event("b", here)])
    wait_halted(ledger)
    ledger.sql("RENAME TABLE hidden TO account_balances")
    browser = visit(one)
    eventually(lambda: "1 partition is halted" in text(browser, "#verdict"), what="the halt is shown")
    assert "account_balances" in text(browser, "#halts")
    eventually(lambda: "partition 0 halted" in text(browser, "#incidents"), what="the incident, too")
    assert "account_balances" in text(browser, "#incidents")
    assert json.loads(one.get("/status")[1])["answered_by"]["incidents"][0]["what"] == "halted"
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    ledger.sql("UPDATE partition_offsets SET halted_reason = %s WHERE kafka_partition = 0", evil)
    eventually(lambda: evil in text(browser, "#halts"), what="the text as it is")
    assert browser.run("document.querySelectorAll('img, #halts script').length") == 0
    shoot(browser, "page-halted")
    # /readyz says 503 while something is halted, which the browser notes by itself.
    assert [note for note in browser.complaints if "/readyz" not in note.get("url", "")] == []


def test_servers_that_went_away_are_named(ledger, visit):
    one = ledger.start()
    browser = visit(one)
    try:
        ledger.stack.stop("mysql")
        eventually(lambda: "The database did not answer" in text(browser, "#verdict"),
                   what="the page says so")
    finally:
        ledger.stack.start("mysql")
    eventually(lambda: "are owned" in text(browser, "#verdict"), what="all is well again")
    one.stop()
    eventually(lambda: "does not answer" in text(browser, "#verdict"), what="nobody answers")


def test_policy_lets_only_the_page_run(ledger, visit):
    """Strict headers; a script that gets into the page all the same does nothing."""
    one = ledger.start()
    with urllib.request.urlopen(f"http://{one.http}/") as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
    browser = visit(one)
    browser.run("""{ const made = document.createElement("script");
        made.textContent = "window.intruder = true"; document.body.append(made); }""")
    assert browser.run("window.intruder === undefined")
    eventually(lambda: complains(browser, "Content Security Policy"), what="the browser says why")
