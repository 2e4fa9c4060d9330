"""Rubbish without end: the server stays up, its memory stays bounded, and its counters tell the story.

`--abuse 1024` sends a gibibyte each of random bytes, of one endless line and of one endless string; the default is less.
"""
import os
import random
import threading
import time

from harness import wait_until

MIB = 1 << 20
# Far below what was sent, far above what lines of a mebibyte, tails and tables need.
GROWTH_MAX = 300 * MIB
TABLES = 100_000
TABLES_MAX = 10_000
SERIES = 10_000_000


def rubbish_leaves_the_server_up_and_its_memory_bounded(env):
    server = env.server("--durability", "nosync")
    server.send("before v=1i 1\nafter v=1i 1\ncardinal,id=first v=1i 0\n")
    watch = Watch(server.process.pid)
    rng = random.Random(4)
    block = rng.randbytes(4 * MIB)
    # The block is cut elsewhere each time, so that the lines differ; its bytes are 4 MiB of chance.
    pour(server, (block[at:] + block[:at] for at in (rng.randrange(len(block)) for _ in range(env.abuse // 4))))
    say(server, watch, f"{env.abuse} MiB of random bytes")
    rejected = server.metric("headwater_lines_rejected_total")
    assert rejected > env.abuse * 1000, f"{rejected} lines refused"

    endless = b"x" * MIB
    for what, head, tail, reason in (("line", b"m v=", b"\n", "line_too_long"), ("string", b'm v="', b'\n', "unterminated_string")):
        before = counter(server, reason)
        pour(server, [head] + [endless] * env.abuse + [tail + b"after v=1i 1\n"])
        say(server, watch, f"one endless {what} of {env.abuse} MiB")
        assert counter(server, reason) == before + 1, f"{reason}: {counter(server, reason)}"

    before = counter(server, "table_limit")
    pour(server, (b"".join(b"t%d v=1i 1\n" % n for n in range(at, at + 1000)) for at in range(0, TABLES, 1000)))
    say(server, watch, f"{TABLES} tables")
    refused = counter(server, "table_limit") - before
    assert TABLES - TABLES_MAX <= refused <= TABLES - TABLES_MAX + 10, f"{refused} tables refused"

    series = SERIES if env.abuse >= 1024 else SERIES // 20
    pour(server, (b"".join(b"cardinal,id=%d v=1i %d\n" % (n, n) for n in range(at, at + 10_000)) for at in range(0, series, 10_000)))
    say(server, watch, f"{series} tag sets")

    assert server.process.poll() is None
    server.send("before v=2i 2\n")
    server.wait_count("before", 2)
    server.wait_count("after", 3)
    server.wait_count("cardinal", series + 1, 300)
    kept = server.one("SELECT count(*) FROM system.rejected_lines")
    assert 0 < kept <= 10_000, f"{kept} refused lines kept"
    assert server.stop() == 0


def pour(server, blocks):
    """Sends all of it over one connection and waits until the server has seen the end, whatever that is."""
    with server.connect() as s:
        try:
            for block in blocks:
                s.sendall(block)
            s.shutdown(1)
            while s.recv(1 << 16):
                pass
        except ConnectionError:
            pass  # A last line without newline ends in a reset.
    wait_until("the connection to end", lambda: server.metric("headwater_connections") == 0, 300)


def counter(server, reason):
    prefix = f'headwater_lines_rejected_total{{reason="{reason}"}} '
    lines = server.get("/metrics")[1].splitlines()
    return int(next(line[len(prefix):] for line in lines if line.startswith(prefix)))


def say(server, watch, what):
    top, now = watch.lap()
    reasons = {}
    for line in server.get("/metrics")[1].splitlines():
        if line.startswith("headwater_lines_rejected_total{") and not line.endswith(" 0"):
            reasons[line.split('"')[1]] = int(line.rsplit(" ", 1)[1])
    print(f"      {what}: resident at most {top // MIB} MiB, {now // MIB} MiB after; refused so far {reasons}", flush=True)
    assert top < watch.start + GROWTH_MAX + watch.tails, f"{what}: {top // MIB} MiB resident"


class Watch:
    """The most memory that a process had since the last lap, looked at many times a second."""

    # Tails have a budget of their own, `apply.memory_bytes`.
    tails = 1024 * MIB

    def __init__(self, pid):
        self.pid, self.top = pid, 0
        self.start = self.resident()
        threading.Thread(target=self.look, daemon=True).start()

    def resident(self):
        with open(f"/proc/{self.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def look(self):
        try:
            while True:
                self.top = max(self.top, self.resident())
                time.sleep(0.02)
        except (OSError, IndexError):
            pass  # The process has ended.

    def lap(self):
        top, self.top = self.top, 0
        return top, self.resident()
