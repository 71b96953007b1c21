"""Amounts against Python's decimal module, which shares no code and no representation with ours.

usage: decimal_oracle.py FILTER [PAIRS [SEED]]

Random pairs (and every boundary with every boundary) are written to the filter in every spelling
that JSON allows; what it reads, adds, subtracts and compares must be what decimal says.  Then the
rules of the ledger: random events on random balances, near the limits on purpose.
"""

import decimal
import random
import re
import subprocess
import sys
import time

CONTEXT = decimal.Context(prec=10000, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN,
                          traps=[decimal.Inexact, decimal.InvalidOperation, decimal.Overflow])
decimal.setcontext(CONTEXT)
Decimal = decimal.Decimal

QUANTUM = Decimal("1e-18")
LIMIT = Decimal("1e18")
MOST = LIMIT - QUANTUM
JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE]([+-]?)0*([0-9]+))?", re.ASCII)
TYPES = ("DEPOSIT", "WITHDRAW", "FREEZE", "UNFREEZE", "SETTLE")
CHUNK = 100000

BOUNDARIES = (
    "0", "-0", "0.0", "0e5", "1", "-1", "2", "0.5", "0.1", "1e-17", "1e-18", "2e-18", "1e-19",
    "15e-19", "10e-19", "0.9999999999999999995", "0.999999999999999999", "1.000000000000000001",
    "9.999999999999999999", "1e17", "1e18", "10e17", "0.1e19", "999999999999999999",
    "999999999999999999.999999999999999999", "999999999999999999.9999999999999999990",
    "999999999999999999.9999999999999999999", "999999999999999999.999999999999999998",
    "499999999999999999.999999999999999999", "500000000000000000",
    "500000000000000000.000000000000000001", "18.446744073709551615", "18.446744073709551616",
    "9.223372036854775807", "9.223372036854775808", "18446744073709551615e-18",
    "340282366920938463463.374607431768211456", "1e99999999999", "0e99999999999", "1e-99999999999",
    "1." + "0" * 4000, "1" + "0" * 4000 + "e-4000", "0." + "0" * 4000 + "1e4001",
    "1e" + "0" * 4000 + "3", "01", ".5", "1.", "+1", "1e", "--1", "1e+", "1x",
)


def plain(value):
    """The plain decimal without trailing zeros."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def read(text):
    """What an event's amount means: (its value or None, how the filter shows it)."""
    number = JSON_NUMBER.fullmatch(text)
    if not number:
        return None, "SYNTAX"
    if number[2] and len(number[2]) > 9:  # beyond what decimal is asked to hold
        mantissa = Decimal(re.split("[eE]", text)[0])
        far = "FRACTION" if number[1] == "-" and mantissa > 0 else "RANGE"
        return None, far
    value = Decimal(text)
    if value <= 0 or value >= LIMIT:
        return None, "RANGE"
    if value % QUANTUM:
        return None, "FRACTION"
    return value, plain(value)


def expect_pair(left, right):
    a, shown_a = read(left)
    b, shown_b = read(right)
    if a is None or b is None:
        return f"{shown_a} {shown_b}"
    total = a + b
    shown = "OVER" if total > MOST else plain(total)
    return f"{shown_a} {shown_b} {shown} {plain(a - b)} {'<' if a < b else '>' if a > b else '='}"


def expect_apply(available, frozen, kind, amount):
    a, f, x = Decimal(available), Decimal(frozen), Decimal(amount)
    after_a = a + {"DEPOSIT": x, "WITHDRAW": -x, "FREEZE": -x, "UNFREEZE": x, "SETTLE": 0}[kind]
    after_f = f + {"DEPOSIT": 0, "WITHDRAW": 0, "FREEZE": x, "UNFREEZE": -x, "SETTLE": -x}[kind]
    if after_a < 0:
        result = "INSUFFICIENT_AVAILABLE"
    elif after_f < 0:
        result = "INSUFFICIENT_FROZEN"
    elif after_a > MOST or after_f > MOST:
        result = "OVERFLOW"
    else:
        return f"{plain(after_a)} {plain(after_f)} OK"
    return f"{plain(a)} {plain(f)} {result}"


def below(rng, limit):
    """0 to limit - 1, for small limits; randrange takes most of the test's time."""
    return int(rng.random() * limit)


def random_digits(rng, most):
    """An integer of 1 to `most` digits, often with runs of nines or zeros in it."""
    digits = 1 + below(rng, most)
    kind = below(rng, 4)
    if kind == 0:
        return 10 ** digits - 1 - below(rng, 3)
    if kind == 1:
        return 10 ** (digits - 1) + below(rng, 3)
    return rng.getrandbits(128) % 10 ** digits


def with_places(number, places):
    """number * 10^-places, with that many decimals written out."""
    if places <= 0:
        return str(number * 10 ** -places)
    digits = str(number).rjust(places + 1, "0")
    return f"{digits[:-places]}.{digits[-places:]}"


def random_spelling(rng, number):
    """One of the ways to write a number of quanta; now and then of another one that is refused."""
    kind = below(rng, 5)
    places = 18 + (below(rng, 41) - 20 if below(rng, 32) == 0 else 0)
    if kind == 0:
        return f"{number}{'eE'[number & 1]}{-places:+d}"
    if kind == 1:
        return with_places(number, places) + "0" * (below(rng, 3) if places > 0 else 0)
    if kind == 2 and places > 0:
        return with_places(number, places).rstrip("0").rstrip(".")
    exponent = below(rng, 51) - 25
    return f"{with_places(number, places + exponent)}e{exponent}"


def random_pair(rng):
    left = random_digits(rng, 36)
    near = below(rng, 8) == 0
    right = max(0, left + below(rng, 3) - 1) if near else random_digits(rng, 36)
    return random_spelling(rng, left), random_spelling(rng, right)


def random_amount(rng, least):
    """A stored amount in units of the quantum."""
    if below(rng, 8) == 0:
        return 10 ** 36 - 1 - below(rng, 3)
    return max(least, random_digits(rng, 36))


def stored(number):
    return f"{number // 10 ** 18}.{number % 10 ** 18:018d}"


def random_event(rng):
    available, frozen = random_amount(rng, 0), random_amount(rng, 0)
    amount = random_amount(rng, 1)
    near = below(rng, 4)
    if near < 2:  # just enough, or not quite
        amount = (available, frozen)[near] + below(rng, 3) - 1
    elif near == 2:
        amount = 10 ** 36 - (available, frozen)[below(rng, 2)] + below(rng, 4) - 2
    amount = min(max(amount, 1), 10 ** 36 - 1)
    return stored(available), stored(frozen), rng.choice(TYPES), stored(amount)


def run(filter_path, name, operations, expect):
    """Gives the operations to the filter; stops at the first answer that is not expected."""
    lines = "".join(f"{name} {' '.join(operation)}\n" for operation in operations)
    answers = subprocess.run([filter_path], input=lines, stdout=subprocess.PIPE, text=True,
                             check=True).stdout.splitlines()
    if len(answers) != len(operations):
        sys.exit(f"{len(answers)} answers to {len(operations)} lines")
    for operation, answer in zip(operations, answers):
        expected = expect(*operation)
        if answer != expected:
            sys.exit(f"{name} {' '.join(operation)}\n  expected {expected}\n  got      {answer}")


def main():
    filter_path = sys.argv[1]
    pairs = int(sys.argv[2]) if len(sys.argv) > 2 else 1100000
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else time.time_ns()
    rng = random.Random(seed)
    print(f"seed {seed}", flush=True)
    run(filter_path, "pair", [(a, b) for a in BOUNDARIES for b in BOUNDARIES], expect_pair)
    for begin in range(0, pairs, CHUNK):
        count = min(CHUNK, pairs - begin)
        run(filter_path, "pair",
            [random_pair(rng) for _ in range(count)], expect_pair)
        run(filter_path, "apply", [random_event(rng) for _ in range(count // 4)], expect_apply)
    print(f"{pairs} pairs and {pairs // 4} events agree")


if __name__ == "__main__":
    main()
