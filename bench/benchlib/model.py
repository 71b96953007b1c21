"""What an event costs, from what was measured; and what a rate needs. docs/CAPACITY.md tells it.

    CPU of a server, us an event = row + balance * d + flush / n + random * m

n: events a flush; d: balances a flush touches, by its events; m: the part of the journal that is not
in the buffer pool, where ids are random (0 where they are ordered). The four costs of each server
are fitted to the runs, none below 0. A rate follows from the cores and the part of them that was
busy. Pure.
"""

from dataclasses import dataclass

SERVERS = ("mysql", "ledgerd", "redis", "kafka")
TERMS = ("row", "balance", "flush", "random")
ROUNDS = 20000
ENOUGH = 1e-7  # us: no cost moves any more
BALANCE_BYTES = 64  # in ledgerd
ID_BYTES = 32
IDS = 1_000_000     # remembered by a partition, at least
DAY_S = 86400


@dataclass
class Run:
    name: str
    per_flush: float      # events
    touched: float        # balances by events of a flush
    missing: float        # part of the journal beyond the buffer pool; random ids only
    cpu_us: dict          # by server; what has none was not there
    rate: float           # events/s
    cores: int

    def terms(self):
        return 1.0, self.touched, 1000.0 / self.per_flush, self.missing

    def busy(self):
        return self.rate * sum(self.cpu_us.values()) / 1e6 / self.cores


@dataclass
class Model:
    costs: dict  # by server: one number a term
    busy: float  # part of the cores that a consumer with a backlog keeps busy

    def cpu_us(self, run):
        return {name: sum(cost * term for cost, term in zip(costs, run.terms()))
                for name, costs in self.costs.items()}

    def rate(self, run):
        """Of everything that this run had, on its cores."""
        cpu = self.cpu_us(run)
        used = sum(us for name, us in cpu.items() if name in run.cpu_us)
        return run.cores * self.busy * 1e6 / used


def touched_part(per_flush, accounts, zipf=0.0):
    """Balances that are expected among so many events, by the events. Accounts are those of a
    partition."""
    if per_flush <= 0:
        return 1.0
    if not zipf:
        return accounts * (1 - (1 - 1 / accounts) ** per_flush) / per_flush
    return zipf_touched(per_flush, accounts, zipf) / per_flush


def zipf_touched(per_flush, accounts, exponent):
    """Ranks are taken in ranges that grow, each as its middle."""
    ranges, begin = [], 1
    while begin <= accounts:
        end = min(accounts, max(begin, int(begin * 1.05)))
        ranges.append((end - begin + 1, ((begin + end) / 2) ** -exponent))
        begin = end + 1
    weight = sum(count * one for count, one in ranges)
    return sum(count * (1 - (1 - min(1.0, one / weight)) ** per_flush) for count, one in ranges)


def fit(runs):
    """A model of what several runs cost."""
    costs = {}
    for name in SERVERS:
        having = [run for run in runs if name in run.cpu_us]
        if having:
            costs[name] = least_squares([run.terms() for run in having],
                                        [run.cpu_us[name] for run in having])
    whole = [run.busy() for run in runs if "ledgerd" in run.cpu_us]
    return Model(costs, sorted(whole)[len(whole) // 2] if whole else 1.0)


def least_squares(rows, values):
    """Costs of each term, none below 0, so that the squares of the relative errors are least: one
    coordinate after the other."""
    weights = [1 / max(value, 1e-9) for value in values]
    rows = [[term * weight for term in row] for row, weight in zip(rows, weights)]
    costs, rest = [0.0] * len(rows[0]), [1.0] * len(values)
    for _ in range(ROUNDS):
        moved = 0.0
        for at in range(len(costs)):
            square = sum(row[at] ** 2 for row in rows)
            if square == 0:
                continue
            step = sum(row[at] * one for row, one in zip(rows, rest)) / square
            step = max(step, -costs[at])
            costs[at] += step
            moved = max(moved, abs(step))
            rest = [one - step * row[at] for row, one in zip(rows, rest)]
        if moved < ENOUGH:
            break
    return costs


# From the files of the benchmarks.

def runs_of(found, name):
    """The runs of one file that tell what an event costs."""
    settings, cores = found["settings"], found["machine"]["cores"]

    def run(label, figures, accounts, partitions=None, per_flush=None, missing=0.0):
        per_flush = per_flush or figures["events_per_flush"]
        spread = max(1, accounts // (partitions or settings["partitions"]))
        return Run(f"{name}: {label}", per_flush, touched_part(per_flush, spread, settings["zipf"]),
                   missing, {key: us for key, us in figures["cpu_us_per_event"].items()
                             if key in SERVERS}, figures["events_per_second"], cores)

    if "end_to_end" in found:
        yield run("end to end", found["details"]["load"], settings["accounts"])
    for one in found.get("accounts", ()):
        yield run(f"{one['accounts']:,} accounts", one, one["accounts"])
    for label, one in found.get("variants", {}).items():
        if label.startswith(("base", "batch")):
            made = run(label, one, settings["accounts"], per_flush=one["events"] / one["flushes"])
            made.cpu_us = {"mysql": made.cpu_us["mysql"]}  # nothing else was there
            yield made
    for label, one in found.get("hot", {}).items():
        yield run(label, one, 1 if label == "one account" else settings["accounts"],
                  settings["partitions"] if label == "uniform" else 1)
    yield from growth_runs(found, run)


def growth_runs(found, run):
    growth = found.get("growth", {"runs": {}})
    for ids, points in growth["runs"].items():
        for one in points:
            part = max(0.0, 1 - growth["pool_bytes"] / one["journal_bytes"])
            yield run(f"{one['rows']:,} rows, {ids} ids", one, found["settings"]["accounts"],
                      missing=part if ids == "random" else 0.0)


# What a rate needs.

@dataclass
class Sizes:
    """Of the machines, and of what was measured beside the CPU."""

    cores: int                 # of a database server
    partition_rate: float      # events/s that one partition takes
    row_bytes: float           # of the journal
    message_bytes: float       # in Kafka, as it is stored
    headroom: float = 0.6      # of the cores that may be used


def needs(model, sizes, rate, accounts, per_flush):
    """Servers, memory and disk for a rate; partitions as many as the rate and a flush allow."""
    partitions = max(1, -int(-rate / (sizes.partition_rate * sizes.headroom) // 1))
    spread = max(1, accounts // partitions)
    run = Run("", per_flush, touched_part(per_flush, spread), 0.0, {}, rate, 0)
    cpu = model.cpu_us(run)
    cores = {name: rate * us / 1e6 / sizes.headroom for name, us in cpu.items()}
    return {
        "rate": rate, "accounts": accounts, "partitions": partitions,
        "cores": cores,
        "database_servers": -int(-cores["mysql"] / sizes.cores // 1),
        "ledgerd_memory_bytes": accounts * BALANCE_BYTES + partitions * IDS * ID_BYTES,
        "journal_bytes_per_day": rate * DAY_S * sizes.row_bytes,
        "log_bytes_per_day": rate * DAY_S * sizes.message_bytes,
    }
