"""The tables of docs/CAPACITY.md: costs, checks, needs. Pure."""

from benchlib import model

MARKS = ("<!-- by bench/capacity -->", "<!-- until here -->")
GOALS = ((100_000, 1_000_000), (100_000, 100_000_000), (1_000_000, 100_000_000))
PER_FLUSH = 20_000
SERVER_CORES = 16
MESSAGE_BYTES = 100  # of a message of 170, with its record's head and LZ4
ROW_BYTES = 250


def calibrate(files, checks):
    """[(name, figures)] of both; everything that the tables show."""
    runs = [run for name, found in files for run in model.runs_of(found, name)]
    if len(runs) < len(model.TERMS):
        raise ValueError(f"{len(runs)} runs are too few for {len(model.TERMS)} costs: take the files "
                         "of `bench/run ceiling`, `accounts`, `hot` and `growth`, too")
    made = model.fit(runs)
    unseen = [run for name, found in checks for run in model.runs_of(found, name)
              if "ledgerd" in run.cpu_us]
    sizes = sizes_of([found for _, found in files])
    return {"capacity": {
        "runs": [run.name for run in runs],
        "costs": {name: dict(zip(model.TERMS, costs)) for name, costs in made.costs.items()},
        "busy": made.busy,
        "checks": [{"name": run.name, "measured": run.rate, "predicted": made.rate(run)}
                   for run in unseen],
        "sizes": vars(sizes),
        "needs": [model.needs(made, sizes, *goal, PER_FLUSH) for goal in GOALS],
    }}


def sizes_of(files):
    """What one partition takes, and how long a row is, where that was measured."""
    one_partition, row_bytes = 40_000.0, float(ROW_BYTES)
    for found in files:
        hot = found.get("hot", {}).get("uniform, one partition")
        if hot:
            one_partition = hot["events_per_second"]
        for points in found.get("growth", {"runs": {}})["runs"].values():
            last = points[-1]
            row_bytes = last["journal_bytes"] / last["rows"]
    return model.Sizes(SERVER_CORES, one_partition, row_bytes, MESSAGE_BYTES)


def tables(found):
    own = found["capacity"]
    yield "| us of CPU an event | a row | + a balance it touches | + 1,000 of a flush's | + random, not in memory |"
    yield "| --- | --- | --- | --- | --- |"
    for name, costs in own["costs"].items():
        yield f"| {name} | " + " | ".join(f"{costs[term]:.2f}" for term in model.TERMS) + " |"
    yield ""
    yield f"Fitted to {len(own['runs'])} runs, which kept {own['busy']:.0%} of the cores busy."
    yield ""
    yield "| a run that it was not fitted to | measured, events/s | predicted | off by |"
    yield "| --- | --- | --- | --- |"
    for one in own["checks"]:
        yield (f"| {one['name']} | {one['measured']:,.0f} | {one['predicted']:,.0f} | "
               f"{one['predicted'] / one['measured'] - 1:+.0%} |")
    yield ""
    yield from needs_table(own)


def needs_table(own):
    sizes = own["sizes"]
    yield ("| events/s, accounts | partitions | database cores | its servers of "
           f"{sizes['cores']} | ledgerd cores | ledgerd memory | Redis cores | journal a day | "
           "Kafka a day |")
    yield "| --- |" + " --- |" * 8
    for one in own["needs"]:
        cores = one["cores"]
        yield (f"| {one['rate']:,.0f}, {one['accounts']:,.0f} | {one['partitions']} | "
               f"{cores['mysql']:.1f} | {one['database_servers']} | {cores.get('ledgerd', 0):.1f} | "
               f"{one['ledgerd_memory_bytes'] / 2**30:.1f} GiB | {cores.get('redis', 0):.1f} | "
               f"{one['journal_bytes_per_day'] / 2**30:,.0f} GiB | "
               f"{one['log_bytes_per_day'] / 2**30:,.0f} GiB |")


def replaced(page, text):
    """The page with other tables between its marks."""
    begin, end = (page.find(mark) for mark in MARKS)
    if not 0 <= begin < end:
        raise ValueError(f"the page lacks the marks {MARKS[0]} and {MARKS[1]}")
    return f"{page[:begin + len(MARKS[0])]}\n\n{text}\n\n{page[end:]}"
