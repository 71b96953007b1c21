"""consumer.memory_max holds, by ledgerd's own count and by the system's, and nothing grows for ever."""

import re
from pathlib import Path

from harness import eventually

MIB = 2 ** 20
MAX_MIB = 64
SMALL = {"consumer_memory_max": f"{MAX_MIB}M", "consumer_batch_max_events": 2000,
         "consumer_batch_max_bytes": "1M", "consumer_dedupe_ids": 20000, "kafka_fetch_buffer": "1M",
         "redis_pending_max": 10000}
ACCOUNTS = 3_000_000  # far more than fit
PIECE = 300_000
NOISE_MIB = 3  # what is fetched ahead comes in pieces; a leak of 11 bytes an event is more


def resident_mib(instance, what):
    text = Path(f"/proc/{instance.process.pid}/status").read_text()
    return int(re.search(what + r":\s+(\d+) kB", text)[1]) / 1024


def consume(ledger, seed):
    ledger.run("produce", "--generate", PIECE, "--accounts", ACCOUNTS, "--seed", seed, timeout_s=600)
    ledger.wait_consumed(600)


def test_memory_max_holds(make_ledger):
    """Balances fill the memory until some are evicted; then more events need no more of it."""
    ledger = make_ledger(2, **SMALL)
    one = ledger.start("one", wait=False).wait_ready(90)
    for seed in range(3):
        consume(ledger, seed)
    full = one.metric("ledger_balances")
    peak_mib = resident_mib(one, "VmHWM")
    assert full < 700_000, "of some 777,000, some were evicted"
    consume(ledger, 3)
    assert one.metric("ledger_balances") <= full * 1.01
    assert 0.9 * MAX_MIB <= one.metric("ledger_memory_bytes") / MIB <= 1.05 * MAX_MIB
    assert resident_mib(one, "VmHWM") <= 1.1 * MAX_MIB
    assert resident_mib(one, "VmHWM") <= peak_mib + NOISE_MIB, "no growth once it is full"
    eventually(lambda: one.metric("ledger_redis_pending") == 0, 60, "Redis has all")
