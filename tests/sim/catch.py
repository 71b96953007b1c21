"""Every planted bug is found by some seed, and without one nothing is found.

    catch.py SIMULATOR-PLANTED [NAME...]
"""

import os
import re
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from planted import FIRST_SEED

SEEDS_MAX = 20000
SEEDS_SOUND = 300
SECONDS_MAX = 500
WHERE = re.compile(r"^seed (\d+), step (\d+): (.*)$", re.MULTILINE)
ASSERTION = re.compile(r"(\S+?):(\d+): .*?(Assertion .*)$", re.MULTILINE)


def no_core():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def simulate(simulator, *args):
    """Its exit status (negative: a signal) and what it has said."""
    begin = time.monotonic()
    run = subprocess.run([simulator, *args], capture_output=True, text=True, errors="replace",
                         timeout=SECONDS_MAX, preexec_fn=no_core, check=False)
    return run.returncode, run.stderr, time.monotonic() - begin


def caught(errors):
    """Seed, step and what was said; an assertion has spoken before the seed was told."""
    where = WHERE.search(errors)
    assertion = ASSERTION.search(errors)
    if not where:
        return None
    message = where[3]
    if assertion:
        message = f"{os.path.basename(assertion[1])}:{assertion[2]}: {assertion[3]}"
    return where[1], where[2], message


def hunt(simulator, name):
    try:
        status, errors, seconds = simulate(simulator, "--plant", name, "--seeds", str(SEEDS_MAX),
                                           "--from", str(FIRST_SEED.get(name, 1)))
    except subprocess.TimeoutExpired:
        return name, None, f"it ran for more than {SECONDS_MAX} s", SECONDS_MAX
    if status == 0:
        return name, None, f"survives {SEEDS_MAX} seeds", seconds
    found = caught(errors)
    return name, found, errors.strip()[-500:] or f"exit status {status}", seconds


def names_of(simulator):
    run = subprocess.run([simulator, "--list"], capture_output=True, text=True, check=True)
    return [line.split("\t")[0] for line in run.stdout.splitlines()]


def main(simulator, *names):
    survivors = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sound = pool.submit(simulate, simulator, "--seeds", str(SEEDS_SOUND))
        print(f"{'planted bug':24} {'seed':>5} {'step':>8} {'s':>5}  found by")
        for name, found, errors, seconds in pool.map(
                lambda name: hunt(simulator, name), names or names_of(simulator)):
            seed, step, message = found or ("-", "-", errors)
            print(f"{name:24} {seed:>5} {step:>8} {seconds:5.1f}  {message}", flush=True)
            if not found:
                survivors.append(name)
        status, errors, seconds = sound.result()
    print(f"no bug: {SEEDS_SOUND} seeds in {seconds:.1f} s, "
          + ("nothing is found" if status == 0 else f"but this is: {errors.strip()[-500:]}"))
    if survivors:
        print("NOT CAUGHT: " + ", ".join(survivors))
    return 1 if survivors or status else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
