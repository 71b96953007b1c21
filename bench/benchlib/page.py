"""One page with everything that the benchmarks found: HTML that needs nothing else.

A section for each kind of figures (`end_to_end`, `growth`, ...), in the order of SECTIONS, from
whichever of the files has it. Each section is a title, a sentence that says what was found, and
plots or a table. Pure.
"""

from html import escape

from benchlib.plots import bars, lines, long, short
from benchlib.report import NOT_DONE, itself, replay_rates

TEXT_LENGTH = 20  # a cell that is longer is no number

STYLE = """
:root{--ink:#16191d;--soft:#5b6470;--paper:#fbfbfa;--card:#fff;--rule:#e3e5e8;
 --c0:#2068c9;--c1:#d9622b;--c2:#1c9a6c;--c3:#8d95a0;--c4:#8a56c9}
@media(prefers-color-scheme:dark){:root{--ink:#eceef1;--soft:#9aa3ae;--paper:#121416;--card:#1a1d21;
 --rule:#2d3238;--c0:#5fa0f5;--c1:#f08a56;--c2:#43c493;--c3:#7c8590;--c4:#b48af0}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
 font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1080px;margin:0 auto;padding:28px 16px 60px}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 4px;letter-spacing:-.01em}
h2{font-size:1.12rem;margin:0 0 2px}
p{margin:0 0 12px}.soft,.note{color:var(--soft)}.note{font-size:.86rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:22px 0}
.tile,.card{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:16px}
.tile b{display:block;font-size:1.75rem;line-height:1.15;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:.86rem}
.cards{columns:2 400px;column-gap:16px}.card{break-inside:avoid;margin-bottom:16px}
svg{display:block;width:100%;height:auto;overflow:visible;margin-top:10px}
svg text{font-size:12px;fill:var(--ink)}svg .tick,svg .title{fill:var(--soft);font-size:11px}
svg .value{font-weight:600;font-variant-numeric:tabular-nums}
.grid{stroke:var(--rule);stroke-width:1}.line{fill:none;stroke-width:2.2;stroke-linejoin:round}
.mark{stroke:var(--card);stroke-width:2}
.bar.c0,.mark.c0{fill:var(--c0)}.bar.c1,.mark.c1{fill:var(--c1)}.bar.c2,.mark.c2{fill:var(--c2)}
.bar.c3,.mark.c3{fill:var(--c3)}.bar.c4,.mark.c4{fill:var(--c4)}
.line.c0{stroke:var(--c0)}.line.c1{stroke:var(--c1)}.line.c2{stroke:var(--c2)}
.line.c3{stroke:var(--c3)}.line.c4{stroke:var(--c4)}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;margin:8px 0 0;font-size:.86rem;color:var(--soft)}
.legend i{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:6px}
.legend .c0{background:var(--c0)}.legend .c1{background:var(--c1)}.legend .c2{background:var(--c2)}
.legend .c3{background:var(--c3)}.legend .c4{background:var(--c4)}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;margin-top:10px;font-size:.9rem}
th,td{padding:5px 10px 5px 0;text-align:right;border-bottom:1px solid var(--rule);
 font-variant-numeric:tabular-nums;vertical-align:top}
th{color:var(--soft);font-weight:500}th:first-child,td:first-child,.text{text-align:left}
.warning{border-left:4px solid var(--c1);padding-left:10px}footer{margin-top:26px}
"""


def merged(files):
    """All figures of [(name, figures)] in one dictionary; of those that two files have, the first
    one's count. Every run end to end is in `runs`; the first of them says what machine it was."""
    ends = [(name, figures) for name, figures in files if "end_to_end" in figures]
    found = {"runs": [{"name": name} | figures["end_to_end"] for name, figures in ends]}
    for _, figures in [*ends, *files]:
        found = figures | found
    return found


def page(found):
    """found: all figures, one dictionary of the files' keys."""
    sections = "".join(section(title, body) for title, key, make in SECTIONS if key in found
                       for body in [make(found)] if body)
    return ("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
            "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
            f"<title>ledgerd: measured</title><style>{STYLE}</style></head><body><main>"
            f"<h1>ledgerd, measured</h1><p class=\"soft\">{escape(machine(found))}</p>"
            f"{warning(found)}<div class=\"tiles\">{tiles(found)}</div>"
            f"<div class=\"cards\">{sections}</div>"
            f"<footer class=\"note\">{escape(settings(found))}</footer></main></body></html>\n")


def section(title, body):
    return f'<section class="card"><h2>{escape(title)}</h2>{body}</section>'


def said(text):
    return f'<p class="soft">{escape(text)}</p>'


def note(text):
    return f'<p class="note">{escape(text)}</p>'


def table(titles, rows):
    """Numbers are to the right, texts to the left."""
    rows = [[str(cell) for cell in row] for row in rows]
    kinds = [' class="text"' if any(len(cell) > TEXT_LENGTH for cell in column) else ""
             for column in zip(*rows)]
    head = "".join(f"<th{kind}>{escape(title)}</th>" for title, kind in zip(titles, kinds))
    body = "".join("<tr>" + "".join(f"<td{kind}>{escape(cell)}</td>"
                                    for cell, kind in zip(row, kinds)) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


# The head of the page.

def machine(found):
    on = found.get("machine")
    if not on:
        return ""
    return (f"{on['cores']} cores ({on['cpu']}), {on['memory_bytes'] / 2**30:.0f} GiB, Linux "
            f"{on['kernel']}; Kafka, the database, Redis and ledgerd all on it, every commit on disk")


def warning(found):
    reasons = []
    busy = found.get("machine", {}).get("busy_before", 0)
    if busy > 0.1:
        reasons.append(f"others used {busy:.0%} of the cores")
    if found.get("settings", {}).get("quick"):
        reasons.append("these were short runs, to see that everything works")
    if not reasons:
        return ""
    return (f'<p class="warning">No figures, only shapes: {" and ".join(reasons)}.</p>')


def settings(found):
    one = found.get("settings")
    if not one:
        return ""
    versions = ", ".join(f"{name} {value}" for name, value in one["versions"].items())
    return (f"{versions}. {one['accounts']:,} accounts, {one['partitions']} partitions, {one['ids']} "
            f"ids, {one['decimals']} decimals, batches of {one['batch_max_events']:,} events, unless "
            "a section says otherwise. Events a second are those committed between the first commit "
            "and the last, as another connection sees them.")


def tiles(found):
    made = []
    if "end_to_end" in found:
        ends = found["end_to_end"]
        made += [(f"{ends['events_per_second']:,.0f}", "events a second, Kafka to MySQL"),
                 (f"{ends['ratio']:.2f}", "of what the database alone can do"),
                 (f"{found['ledgerd']['cpu_ns_per_event'] / 1000:.2f} us",
                  "of CPU an event, all of ledgerd")]
    half = [one for one in found.get("latency_curve", {}).get("points", ()) if one["part"] == 0.5]
    made += [(f"{one['p99']:.0f} ms", "P99 at half of the rate") for one in half]
    if "peers" in found:
        peers = found["peers"]
        made += [(f"{peers['ledgerd']['events_per_second'] / peers[name]['events_per_second']:.1f}x",
                  label) for name, label in (("row locks", "one transaction an event"),
                                             ("connect both", "Kafka Connect's JDBC sink"))
                 if name in peers]
    return "".join(f'<div class="tile"><b>{escape(value)}</b><span>{escape(label)}</span></div>'
                   for value, label in made)


# The sections.

def end_to_end(found):
    ends, load = found["end_to_end"], found["details"].get("load", {})
    rows = []
    for run in found.get("runs") or [{"name": ""} | ends]:
        rows += [(label(run, "the flushes alone: the ceiling"),
                  run["ceiling_events_per_second"],
                  f"{run['ceiling_events_per_second']:,.0f}/s", 3),
                 (label(run, "ledgerd, Kafka to MySQL"), run["events_per_second"],
                  f"{run['events_per_second']:,.0f}/s  {run['ratio']:.2f}", 0)]
    body = said("The same rows by the same statements, prepared beforehand, with nothing else "
                "running, are the ceiling.") + bars(rows)
    steps = load.get("flush_ms", {})
    return body + (note("A flush, ms: " + ", ".join(f"{name} {ms:.1f}" for name, ms in steps.items()
                                                   if ms >= 0.05)) if steps else "")


def label(run, text):
    return f"{run['name']}: {text}" if run["name"] else text


def cpu(found):
    load = found["details"].get("load")
    if not load or "thread_ns_per_event" not in load:
        return ""
    threads = sorted(load["thread_ns_per_event"].items(), key=lambda item: -item[1])
    servers = [(name, us) for name, us in load["cpu_us_per_event"].items() if name != "bench"]
    return (said("Microseconds of CPU an event, by process; and nanoseconds by thread of ledgerd.")
            + bars([(name, us, f"{us:.2f} us", 0 if name == "ledgerd" else 3)
                    for name, us in sorted(servers, key=lambda item: -item[1])])
            + bars([(name, ns, f"{ns:,.0f} ns", 0) for name, ns in threads if ns >= 5]))


def latency(found):
    curve = found["latency_curve"]
    points = curve["points"]
    series = {name: [(one["part"] * 100, one[key]) for one in points]
              for name, key in (("P50", "p50"), ("P95", "p95"), ("P99", "p99"))}
    return (said(f"From Kafka's timestamp to the commit, at parts of {curve['events_per_second']:,.0f} "
                 "events a second.")
            + lines(series, "% of the rate", "ms", log_y=True, x_text=lambda x: f"{x:.0f}")
            + table(("of the rate", "events/s", "P50", "P95", "P99", "most"),
                    [(f"{one['part']:.0%}", f"{one['rate']:,.0f}",
                      *(f"{one[key]:.1f}" for key in ("p50", "p95", "p99", "max_ms")))
                     for one in points]))


def handover(found):
    own = found["handover"]
    rows = []
    for how, label in (("stop", "stopped"), ("kill", "killed")):
        rows += [(f"{label}: its {own[how]['owned']} partitions", own[how]["gap_ms"],
                  f"{own[how]['gap_ms']:,.0f} ms", 1),
                 (f"{label}: the partitions of the other", own[how]["others_gap_ms"],
                  f"{own[how]['others_gap_ms']:,.0f} ms", 3)]
    return said(f"The longest time without a commit of a partition, at {own['rate']:,.0f} events a "
                "second on two instances, when one of them ends.") + bars(rows)


def growth(found):
    own = found["growth"]
    runs = {f"{ids} ids": [(one["rows"], one["events_per_second"]) for one in points]
            for ids, points in own["runs"].items()}
    parts = "; ".join(
        f"{ids}: {points[-1]['events_per_second'] / points[0]['events_per_second']:.2f} of the first "
        f"at {short(points[-1]['rows'])} rows" for ids, points in own["runs"].items())
    return (said(f"With a buffer pool of {short(own['pool_bytes'])}B. {parts[:1].upper()}{parts[1:]}.")
            + lines(runs, "rows in the journal", "events/s", log_x=True))


def accounts(found):
    own = found["accounts"]
    return (said("Uniform over so many balances, none of them in memory at the start.")
            + lines({"events/s": [(one["accounts"], one["events_per_second"]) for one in own]},
                    "accounts", "events/s", log_x=True)
            + table(("accounts", "events/s", "start to first commit", "most memory"),
                    [(f"{one['accounts']:,}", f"{one['events_per_second']:,.0f}",
                      f"{one['first_commit_seconds']:.2f} s",
                      f"{one['rss_max_bytes'] / 2**20:,.0f} MiB") for one in own]))


def hot(found):
    rows = []
    for name, one in found["hot"].items():
        rows += [(name, one["events_per_second"],
                  f"{one['events_per_second']:,.0f}/s", 0),
                 ("its ceiling", one["ceiling_events_per_second"],
                  f"{one['ceiling_events_per_second']:,.0f}/s", 3)]
    return said("One account is one balance row a flush, however many events it has.") + bars(rows)


def partitions(found):
    own = found["partitions"]
    names = sorted({one["instances"] for one in own})
    series = {f"{count} instance{'s' if count > 1 else ''}": [
        (one["partitions"], one["events_per_second"]) for one in own if one["instances"] == count]
        for count in names}
    return (lines(series, "partitions", "events/s", log_x=True)
            + table(("partitions", "instances", "events/s", "threads", "connections", "MiB"),
                    [(one["partitions"], one["instances"], f"{one['events_per_second']:,.0f}",
                      one["threads"], one["connections"], f"{one['rss_max_bytes'] / 2**20:,.0f}")
                     for one in own]))


def peers(found):
    own = found["peers"]
    best = own["ledgerd"]["events_per_second"]
    kinds = {"ceiling": 3, "ledgerd": 0}
    rows = [(name, one["events_per_second"],
             f"{short(one['events_per_second'])}/s  {one['events_per_second'] / best:.2f}",
             kinds.get(name, 1)) for name, one in own.items()]
    about = table(("", "database us", "itself us", "does not do"), [
        (name, f"{one['cpu_us_per_event'].get('mysql', 0):.1f}", f"{itself(one):.1f}",
         NOT_DONE.get(name, "")) for name, one in own.items()])
    missing = "".join(note(f"{name}: not measured: {why}")
                      for name, why in found.get("missing", {}).items())
    return (said("On the same server, from the same events. The last number is the part of "
                 "ledgerd's rate.") + bars(rows)
            + about + missing)


def variants(found):
    own = found["variants"]
    base = own.get("base", {}).get("events_per_second")
    if not base:
        return ""
    rows = [(one["about"], one["events_per_second"], f"{one['events_per_second'] / base:.2f}",
             (0 if name.startswith("base") else 2) if one["safe"] else 3)
            for name, one in own.items()]
    return (said("The flushes alone with one thing changed, as a part of the first. Grey: not safe, "
                 "or not the same tables; only to show a cost.") + bars(rows))


def memory(found):
    return table(("", "balances", "bytes each", "peak MiB",
                  "events/s"),
                 [(name, f"{one['balances']:,.0f}", f"{one['bytes_per_balance']:.1f}",
                   f"{one['rss_max_bytes'] / 2**20:,.0f}", f"{one['events_per_second']:,.0f}")
                  for name, one in found["memory"].items()])


def replay(found):
    return table(("", "events/s", "of consuming them"),
                 [(label, long(rate), f"{part:.2f}") for label, rate, part in replay_rates(found)])


def capacity(found):
    own = found["capacity"]
    return (said("What the model of docs/CAPACITY.md says of runs that it was not made from.")
            + table(("run", "measured", "predicted", "off by"),
                    [(one["name"], f"{one['measured']:,.0f}", f"{one['predicted']:,.0f}",
                      f"{one['predicted'] / one['measured'] - 1:+.0%}") for one in own["checks"]]))


SECTIONS = (
    ("Kafka to MySQL", "end_to_end", end_to_end),
    ("Beside others", "peers", peers),
    ("Latency against load", "latency_curve", latency),
    ("A partition changes hands", "handover", handover),
    ("As the journal grows", "growth", growth),
    ("As accounts grow", "accounts", accounts),
    ("One hot account", "hot", hot),
    ("Many partitions", "partitions", partitions),
    ("Who uses the CPU", "details", cpu),
    ("Memory", "memory", memory),
    ("Replay", "replay", replay),
    ("What would move the ceiling", "variants", variants),
    ("Predicted and measured", "capacity", capacity),
)
