"""What is measured of the machine and its processes, all of it from /proc."""

import os
import re
import resource
import time
from collections import Counter
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
BUSY_PART = 0.1  # of the cores, used by others: then figures are not to be trusted


def describe():
    """The machine, and how busy it is with other things."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+) kB", Path("/proc/meminfo").read_text())
    return {
        "cores": os.cpu_count(),
        "cpu": cpu[1] if cpu else os.uname().machine,
        "memory_bytes": int(memory[1]) << 10,
        "kernel": os.uname().release,
        "load_1min_before": os.getloadavg()[0],
        "busy_before": busy_part(1.0),
    }


def busy_ticks():
    """All that all cores did since the boot, in clock ticks."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _wait, irq, softirq, steal, *_ = map(int, fields)
    return user + nice + system + irq + softirq + steal


def busy_part(seconds):
    """The part of all cores that is in use now."""
    before = busy_ticks()
    time.sleep(seconds)
    return (busy_ticks() - before) / TICKS / seconds / os.cpu_count()


def cpu_seconds(pid):
    """Of all threads of a process, those that have ended included; to the nanosecond."""
    try:
        return time.clock_gettime(~pid << 3 | 2)  # as clock_getcpuclockid(3) names it
    except OSError:
        return 0.0


def cpu_times(pid):
    """In the program and in the kernel, to the clock tick."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, 0.0
    return int(fields[11]) / TICKS, int(fields[12]) / TICKS


def thread_seconds(pid):
    """CPU by the threads' names, of those that are alive; to the nanosecond."""
    seconds = Counter()
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            name = (task / "comm").read_text().strip()
            seconds[thread_name(name)] += int((task / "schedstat").read_text().split()[0]) / 1e9
        except OSError:
            continue  # it ended meanwhile
    return seconds


def thread_name(name):
    return "librdkafka" if name.startswith("rdk:") else name


def memory_peak_bytes(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) << 10


class Usage:
    """Who used the cores between the start and `end`: microseconds of CPU an event, by name; under
    `bench` what measures (this program and all its children that are not named). And the part of
    the cores that was used by what is not ours."""

    def __init__(self, pids, children=()):
        self.pids = {name: pid for name, pid in pids.items() if pid}
        self.children = children
        self.began = time.monotonic()
        self.before = self.look()
        self.took = 0.0
        self.used = {}

    def look(self):
        seconds = {name: cpu_seconds(pid) for name, pid in self.pids.items()}
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = resource.getrusage(resource.RUSAGE_SELF)
        seconds["bench"] = own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime + sum(
            map(cpu_seconds, self.children))
        seconds["others"] = busy_ticks() / TICKS - sum(seconds.values())
        return seconds

    def end(self):
        self.took = (time.monotonic() - self.began) * os.cpu_count()
        self.used = {name: max(0.0, seconds - self.before[name])
                     for name, seconds in self.look().items()}

    def figures(self, events):
        """After the end, when it is known how many events it were."""
        return {
            "cpu_us_per_event": {name: seconds / events * 1e6
                                 for name, seconds in self.used.items() if name != "others"},
            "others_part": self.used["others"] / self.took,
        }
