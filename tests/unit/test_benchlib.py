"""The pure parts of the benchmarks: what follows from what was seen, the model, plots and page."""

import math
import random
import sys
import xml.etree.ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "deploy")]

from benchlib import capacity, errors, model, page, plots, watch  # noqa: E402

# Commits as bench-watch tells them: (us, partition, next_offset).
CHANGES = [(1000, 0, 10), (1000, 1, 5), (2000, 0, 30), (5000, 1, 45), (9000, 0, 60)]


def test_the_rate_begins_behind_what_was_there():
    assert watch.sums(CHANGES) == [(1000, 15), (2000, 35), (5000, 75), (9000, 105)]
    assert watch.first_commit(CHANGES, 0) == (1000, 15)
    assert watch.first_commit(CHANGES, 15) == (2000, 35)


def test_the_rate_of_what_was_committed_at_once():
    """A fast machine, and few events: no figure, but a short run ends well."""
    assert watch.rate(CHANGES, 0) == (90 / 0.008, 0.008)
    assert watch.rate_between(CHANGES, 35, 105) == 70 / 0.007
    once = CHANGES[:2]
    assert watch.rate(once, 0, began_us=500) == (15 / 0.0005, 0.0005)
    assert watch.rate_between(once, 4, 14, began_us=500) == 15 / 0.0005
    for attempt in (lambda: watch.rate(once, 0), lambda: watch.rate_between(once, 4, 14)):
        with pytest.raises(errors.Failed, match="--events"):
            attempt()


def test_a_gap_reaches_over_both_ends_of_the_look():
    gap = watch.longest_gap_ms
    assert gap(CHANGES, 0, 2500, 9500) == 7.0   # from the commit before the look: 2000 to 9000
    assert gap(CHANGES, 1, 6000, 19000) == 14.0  # nothing came again: until the end of the look
    assert gap(CHANGES, 0, 9100, 9600) == 0.6
    assert gap([], 0, 1000, 3000) == 2.0


# The model.

@pytest.mark.parametrize("accounts,events,zipf", [(100, 50, 0), (1000, 5000, 0), (2000, 1000, 1.0),
                                                  (500, 200, 0.7)])
def test_touched_balances_are_as_many_as_one_draws(accounts, events, zipf):
    chance = random.Random(1)
    weights = [(rank + 1) ** -zipf for rank in range(accounts)]
    drawn = [len(set(chance.choices(range(accounts), weights, k=events))) for _ in range(200)]
    expected = model.touched_part(events, accounts, zipf) * events
    assert expected == pytest.approx(sum(drawn) / len(drawn), rel=0.02)


def made_run(costs, per_flush, touched, missing=0.0, servers=("mysql", "ledgerd")):
    run = model.Run("made", per_flush, touched, missing, {}, 0, 2)
    run.cpu_us = {name: sum(cost * term for cost, term in zip(costs[name], run.terms()))
                  for name in servers}
    run.rate = 2 * 0.9 * 1e6 / sum(run.cpu_us.values())
    return run


def test_the_fit_finds_the_costs_that_made_the_runs():
    costs = {"mysql": (7.0, 3.0, 12.0, 40.0), "ledgerd": (0.8, 0.4, 0.0, 0.0)}
    runs = [made_run(costs, *one) for one in (
        (20000, 0.9), (20000, 0.2), (5000, 1.0), (100000, 0.5), (20000, 0.9, 0.8))]
    fitted = model.fit(runs)
    for name, wanted in costs.items():
        assert fitted.costs[name] == pytest.approx(wanted, rel=0.05, abs=0.05)
    assert fitted.busy == pytest.approx(0.9)
    unseen = made_run(costs, 40000, 0.7)
    assert fitted.rate(unseen) == pytest.approx(unseen.rate, rel=0.02)


def test_no_cost_is_below_nothing():
    rows = [(1.0, 0.1), (1.0, 0.9)]
    assert model.least_squares(rows, [10.0, 5.0])[1] == 0  # more balances would be a gain


def test_needs_grow_with_the_rate():
    costs = {"mysql": (7.0, 3.0, 12.0, 0.0), "ledgerd": (0.8, 0.4, 0.0, 0.0)}
    fitted = model.Model({name: list(one) for name, one in costs.items()}, 0.9)
    sizes = model.Sizes(cores=16, partition_rate=50_000, row_bytes=250, message_bytes=100)
    small, large = (model.needs(fitted, sizes, rate, 1_000_000, 20_000)
                    for rate in (100_000, 1_000_000))
    assert small["partitions"] == 4 and large["partitions"] == 34
    assert large["cores"]["mysql"] > 9 * small["cores"]["mysql"]
    assert large["journal_bytes_per_day"] == 1_000_000 * 86400 * 250


# The page.

ABOUT = {"settings": {"accounts": 1000, "partitions": 4, "zipf": 0.0, "ids": "time-ordered",
                      "decimals": 2, "batch_max_events": 20000, "versions": {"ledgerd": "0.1.0"}},
         "machine": {"cores": 2, "cpu": "<A & B>", "memory_bytes": 1 << 34, "kernel": "6",
                     "busy_before": 0.0}}


def used(rate, **more):
    return {"events_per_second": rate, "cpu_us_per_event": {"mysql": 12.0, "ledgerd": 1.5},
            "events_per_flush": 20000.0} | more


def figures():
    """All kinds of figures, as small as they can be."""
    return ABOUT | {
        "end_to_end": {"events_per_second": 112000.0, "ceiling_events_per_second": 150000.0,
                       "ratio": 0.75},
        "ledgerd": {"cpu_ns_per_event": 1700.0, "rss_max_bytes": 1 << 28},
        "details": {"load": used(112000.0, flush_ms={"commit": 7.0},
                                 thread_ns_per_event={"worker": 900.0})},
        "peers": {name: used(rate) for name, rate in (
            ("ceiling", 150000.0), ("ledgerd", 112000.0), ("row locks", 9000.0),
            ("connect both", 40000.0))},
        "missing": {},
        "latency_curve": {"events_per_second": 112000.0, "points": [
            {"part": part, "rate": 112000 * part, "p50": 5.0, "p95": 9.0, "p99": 15.0,
             "max_ms": 40.0} for part in (0.05, 0.5, 0.9)]},
        "handover": {"rate": 56000.0} | {how: {"owned": 2, "gap_ms": gap, "others_gap_ms": 20.0,
                                               "end_took_ms": 5.0}
                                         for how, gap in (("stop", 300.0), ("kill", 10500.0))},
        "growth": {"pool_bytes": 1 << 30, "runs": {ids: [
            used(rate / (1 + number * slow), rows=10 ** (6 + number), journal_bytes=10 ** (9 + number))
            for number in range(3)] for ids, rate, slow in (
                ("time-ordered", 110000.0, 0.02), ("random", 80000.0, 2.0))}},
        "accounts": [used(100000.0, accounts=number, first_commit_seconds=1.2,
                          rss_max_bytes=1 << 29) for number in (10_000, 1_000_000)],
        "hot": {name: used(100000.0, ceiling_events_per_second=150000.0, ratio=0.67)
                for name in ("uniform", "one account")},
        "partitions": [{"partitions": number, "instances": count, "events_per_second": 90000.0,
                        "threads": 20, "connections": 9, "rss_max_bytes": 1 << 28,
                        "cpu_ns_per_event": 1800.0}
                       for number in (4, 64) for count in (1, 3)],
        "variants": {"base": used(150000.0, about="as it is", safe=True, events=60, flushes=3),
                     "batch-50k": used(170000.0, about="larger", safe=True, events=90, flushes=2)},
        "failed": {},
    }


class Ids(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.headings, self.links = [], [], []

    def handle_starttag(self, tag, attrs):
        self.open += [tag] if tag not in ("meta", "circle", "line", "rect", "polyline") else []
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        if tag not in ("circle", "line", "rect", "polyline"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def test_a_page_has_a_section_for_everything_and_needs_nothing_else():
    found = figures()
    text = page.page(found)
    seen = Ids()
    seen.feed(text)
    wanted = [title for title, key, _ in page.SECTIONS if key in found]
    assert seen.headings == wanted and not seen.open and not seen.links
    assert "http" not in text and "&lt;A &amp; B&gt;" in text and "12.4x" in text
    assert "only shapes" not in text
    busy = found | {"machine": found["machine"] | {"busy_before": 0.5}}
    assert "only shapes: others used 50%" in page.page(busy)
    quick = found | {"settings": found["settings"] | {"quick": True}}
    assert "only shapes: these were short runs" in page.page(quick)


def test_each_run_end_to_end_is_shown_and_the_first_one_leads():
    slow = {"events_per_second": 7.0, "ceiling_events_per_second": 9.0, "ratio": 0.78}
    other = {"machine": {"cores": 99}, "details": {}, "growth": {"of": "the other"}}
    found = page.merged([("other", other), ("first", figures()),
                         ("second", figures() | {"end_to_end": slow})])
    assert [run["name"] for run in found["runs"]] == ["first", "second"]
    assert found["machine"]["cores"] == 2 and found["end_to_end"]["ratio"] == 0.75
    assert "second: ledgerd, Kafka to MySQL" in page.page(found)


def points_of(svg):
    tree = xml.etree.ElementTree.fromstring(svg[:svg.index("</svg>") + 6])
    return tree, [(float(one.get("cx")), float(one.get("cy"))) for one in tree.iter("circle")]


@pytest.mark.parametrize("log_x,log_y", [(False, False), (True, False), (True, True)])
def test_points_stand_where_their_values_are(log_x, log_y):
    given = [(1.0, 5.0), (10.0, 50.0), (1000.0, 20.0)]
    tree, places = points_of(plots.lines({"<one>": given}, "x", "y", log_x, log_y))
    scale_x, scale_y = (math.log if log else float for log in (log_x, log_y))
    (x0, y0), (x1, y1), (x2, y2) = places
    (gx0, gy0), (gx1, gy1), (gx2, gy2) = [(scale_x(x), scale_y(y)) for x, y in given]
    assert (x1 - x0) / (x2 - x0) == pytest.approx((gx1 - gx0) / (gx2 - gx0), abs=0.01)
    assert (y1 - y0) / (y2 - y0) == pytest.approx((gy1 - gy0) / (gy2 - gy0), abs=0.01)
    assert x0 < x1 < x2 and y1 < y2 < y0  # up is more
    for x, y in places:
        assert 0 <= x <= plots.WIDTH and 0 <= y <= plots.HEIGHT
    assert len(list(tree.iter("text"))) > 6


def test_bars_are_as_long_as_their_values():
    tree, _ = points_of(plots.bars([("a", 50.0, "50", 0), ("b", 100.0, "100", 1)]))
    widths = [float(one.get("width")) for one in tree.iter("rect")]
    assert widths[1] == pytest.approx(2 * widths[0]) and widths[1] < plots.WIDTH


def test_the_tables_replace_those_of_before():
    found = capacity.calibrate([("all", figures())], [("other", figures())])
    lines = list(capacity.tables(found))
    old = f"head\n{capacity.MARKS[0]}\n\nold\n\n{capacity.MARKS[1]}\ntail\n"
    new = capacity.replaced(old, "\n".join(lines))
    assert "old" not in new and new.startswith("head\n") and new.endswith("tail\n")
    assert capacity.replaced(new, "\n".join(lines)) == new
    assert found["capacity"]["checks"][0]["measured"] == 112000.0
    assert "Predicted and measured" in page.page(figures() | found)
    with pytest.raises(ValueError, match="marks"):
        capacity.replaced("no marks", "text")
    with pytest.raises(ValueError, match="too few"):
        capacity.calibrate([("one", ABOUT)], [])


def test_the_page_of_the_model_has_its_marks():
    text = (ROOT / "docs" / "CAPACITY.md").read_text(encoding="utf-8")
    assert all(text.count(mark) == 1 for mark in capacity.MARKS)
