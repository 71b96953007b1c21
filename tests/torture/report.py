"""What a run has to tell: as a table for people, as Markdown for docs/RELIABILITY.md, as JSON."""

import json
import statistics
from dataclasses import asdict, dataclass, field

from screen import table

WORDS = {"applied": "applied", "refused": "refused", "duplicate": "duplicates",
         "dead_letter": "dead letters"}


@dataclass
class Report:
    seed: str
    minutes: float
    partitions: int
    instances: int
    lease_ms: int
    rate: int
    sent: int = 0
    messages: int = 0
    outcomes: dict = field(default_factory=dict)
    balances: int = 0
    faults: dict = field(default_factory=dict)     # kind: how often
    skipped: dict = field(default_factory=dict)    # kind: why
    lives: int = 0
    acquired: int = 0
    changed_owner: int = 0
    fenced: dict = field(default_factory=dict)  # why an owner gave up: how often
    set_back: int = 0
    away_s: dict = field(default_factory=dict)  # server: the longest from SIGKILL to an answer
    longest_stall_s: float = 0
    longest_stall_at_s: float = 0
    recoveries_s: list = field(default_factory=list)
    failures: list = field(default_factory=list)

    def json(self):
        return json.dumps(asdict(self), indent=2)

    def facts(self):
        """(what, how much)"""
        outcomes = ", ".join(f"{self.outcomes.get(key, 0):,} {word}" for key, word in WORDS.items())
        recoveries = self.recoveries_s or [0]
        return [
            ("time under faults", f"{self.minutes:g} min"),
            ("instances, partitions, lease", f"{self.instances}, {self.partitions}, "
                                             f"{self.lease_ms / 1000:g} s"),
            ("messages in the log", f"{self.messages:,}"),
            ("what became of them", outcomes),
            ("faults", f"{sum(self.faults.values()):,}"),
            ("instances started", f"{self.lives:,}"),
            ("leases acquired", f"{self.acquired:,}, of which {self.changed_owner:,} by another "
                                "instance than before"),
            ("partitions fenced", "; ".join(f"{times:,}: {why}" for why, times
                                            in sorted(self.fenced.items()))),
            ("messages that promotions took back", f"{self.set_back:,}"),
            ("killed servers answered again after at most",
             ", ".join(f"{name} {away_s:.1f} s" for name, away_s in self.away_s.items())),
            ("longest stall of a partition, servers away or not", f"{self.longest_stall_s:.1f} s"),
            ("from the last fault of a round until all is consumed",
             f"{len(self.recoveries_s)} times, longest {max(recoveries):.1f} s, "
             f"median {statistics.median(recoveries):.1f} s"),
            ("differences, halts, deaths", f"{len(self.failures)}"),
        ]

    def lines(self):
        yield from table(("", ""), self.facts())
        yield ""
        yield from table(("fault", "times"), [*self.faults.items(), *self.skipped_rows()])
        for kind, why in self.skipped.items():
            yield f"  SKIPPED: {kind}: {why}"
        for failure in self.failures[:20]:
            yield f"  FAILED: {failure}"

    def skipped_rows(self):
        return [(kind, "skipped") for kind in self.skipped]

    def markdown(self):
        yield from markdown_table(("what", "figure"), self.facts())
        yield ""
        yield from markdown_table(("fault", "times"), [*self.faults.items(), *self.skipped_rows()])


def markdown_table(titles, rows):
    for row in (titles, ["---"] * len(titles), *rows):
        yield f"| {' | '.join(map(str, row))} |"
