"""What goes wrong around the process: a full disk, no more descriptors, a folder that goes away, a device that fails to sync."""
import os
import resource
import shutil
import socket
import subprocess
import threading
import time

import harness
from harness import wait_until
from survival import BASE

CONNECTIONS = 8
ROWS = 400


class Loader(threading.Thread):
    """Sends rows, a block at a time, each acknowledged before the next, until it is told to stop."""

    def __init__(self, server, table, client):
        super().__init__(daemon=True)
        self.server, self.table, self.client = server, table, client
        self.acknowledged, self.stop, self.failure = 0, False, None

    def run(self):
        try:
            with self.server.connect() as s:
                s.settimeout(120)
                replies = s.makefile("rb")
                while not self.stop:
                    first = self.acknowledged
                    lines = "".join(f"{self.table},c=c{self.client} n={n}i,x={n * 7919 % 65537}.5 {BASE + n}\n"
                                    for n in range(first, first + ROWS))
                    s.sendall(f"{lines}# ack b{first}\n".encode())
                    reply = replies.readline().decode()
                    assert reply == f"ok b{first} lines={ROWS} rejected=0\n", reply
                    self.acknowledged += ROWS
        except Exception as failure:
            self.failure = failure


def a_full_disk_makes_the_load_wait_and_nothing_else(env):
    disk = env.tmp / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode != 0:
        raise harness.Skip(f"no file system of its own: {mounted.stderr.strip()}")
    try:
        server = env.server(data="disk/data")
        # First down to the reserve, which leaves the log and flushes room; then to the last byte, with no reserve.
        fill_and_free(env, server, disk, "reserve", lambda free: free - (4 << 20))
        assert server.stop() == 0
        server.environment = {"HEADWATER_WAL_FREE_BYTES_MIN": "0"}
        server.start()
        fill_and_free(env, server, disk, "brim", lambda free: free)
        assert server.stop() == 0
    finally:
        env.stop_all()
        subprocess.run(["umount", disk], check=False)


def fill_and_free(env, server, disk, table, ballast_of):
    """Fills the disk under a load, sees the load wait, frees the disk, and sees the load finish in the same process."""
    pid = server.process.pid
    loaders = [Loader(server, table, c) for c in range(CONNECTIONS)]
    acknowledged = lambda: sum(loader.acknowledged for loader in loaders)
    for loader in loaders:
        loader.start()
    wait_until("the load to begin", lambda: acknowledged() > 0)
    ballast = disk / "ballast"
    # Again until it sticks: flushes give room back meanwhile.
    before = -1
    end = time.monotonic() + 60
    with open(ballast, "ab") as f:
        while acknowledged() != before:
            before = acknowledged()
            assert time.monotonic() < end, "the load does not wait"
            stat = os.statvfs(disk)
            more = ballast_of(stat.f_bavail * stat.f_frsize)
            if more > 0:
                try:
                    os.posix_fallocate(f.fileno(), f.tell(), more)
                    f.seek(0, os.SEEK_END)
                except OSError:
                    pass  # Somebody else was faster.
            time.sleep(0.5)
    assert server.get("/ready")[0] == 200 and server.metric("headwater_disk_free_bytes") >= 0
    assert not any(loader.failure for loader in loaders), [loader.failure for loader in loaders]
    ballast.unlink()
    wait_until("the load to go on", lambda: acknowledged() > before + CONNECTIONS * ROWS)
    for loader in loaders:
        loader.stop = True
    for loader in loaders:
        loader.join(120)
        assert not loader.is_alive() and loader.failure is None, loader.failure
    assert server.process.pid == pid and server.process.poll() is None
    server.wait_count(table, acknowledged())
    assert server.one(f"SELECT count(*) FROM (SELECT DISTINCT c, n FROM {table})") == acknowledged()


def a_process_out_of_descriptors_waits_and_goes_on(env):
    server = env.server()
    server.send("t v=1i 1\n")
    server.get("/ready")
    limits = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    in_use = len(os.listdir(f"/proc/{server.process.pid}/fd"))
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (in_use + 4, limits[1]))
    crowd = [server.connect() for _ in range(30)]
    for n, s in enumerate(crowd):
        s.sendall(f"t v={n}i {n + 2}\n".encode())
        s.shutdown(socket.SHUT_WR)
    time.sleep(0.5)
    before = time.monotonic(), cpu_seconds(server)
    time.sleep(1)
    spent = (cpu_seconds(server) - before[1]) / (time.monotonic() - before[0])
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, limits)
    for s in crowd:
        assert s.recv(1) == b"", "a FIN says that the line is durable"
        s.close()
    server.wait_count("t", len(crowd) + 1)
    assert server.stop() == 0
    print(f"      out of descriptors, the process used {spent:.0%} of a core", flush=True)


def few_descriptors_from_the_start_leave_some_for_files(env):
    limit = 200
    server = env.server(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
    crowd, durable = [], 0
    for n in range(limit * 2):
        try:
            crowd.append(server.connect())
            crowd[-1].sendall(f"t v={n}i {n + 1}\n".encode())
        except OSError:
            pass  # One too many, and told so at once.
    for s in crowd:
        try:
            s.shutdown(socket.SHUT_WR)
            durable += s.recv(1) == b""
        except OSError:
            pass
        s.close()
    assert durable >= limit // 8, f"{durable} of {len(crowd)} connections were served"
    server.wait_count("t", durable)
    server.send("t v=0i 0\n")
    server.wait_count("t", durable + 1)
    assert server.metric("headwater_connections_refused_total") > 0
    assert server.stop() == 0


def ten_thousand_idle_connections_cost_no_file_and_little_memory(env):
    wanted = 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(wanted, hard - 4_000)
    if count < 1_000:
        raise harness.Skip(f"{hard} descriptors are too few for idle connections by the thousand")
    crowd = []
    try:
        server = env.server(environment={"HEADWATER_LIMITS_CONNECTIONS": str(count + 100)})
        server.send("t v=1i 1\n")
        server.get("/ready")
        descriptors = lambda: len(os.listdir(f"/proc/{server.process.pid}/fd"))
        memory = lambda: int(server.metric("process_anonymous_memory_bytes"))
        segments = lambda: len(list((server.data / "wal").glob("*/*.wal")))
        before = descriptors(), memory(), segments()
        crowd = [server.connect() for _ in range(count)]
        wait_until("all to be accepted", lambda: server.metric("headwater_connections") == count)
        grown = (memory() - before[1]) / count
        print(f"      {count} idle connections: {grown / 1024:.1f} KiB each, {descriptors() - before[0] - count} more descriptors, "
              f"{segments() - before[2]} more segments", flush=True)
        assert grown < 16 << 10, f"{grown:.0f} bytes a connection"
        # The reports may have begun a segment meanwhile.
        assert descriptors() <= before[0] + count + 8 and segments() <= before[2] + 1
        # Others are served as ever, and so is one of the crowd.
        server.send("t v=2i 2\n")
        crowd[-1].sendall(b"t v=3i 3\n# ack x\n")
        assert crowd[-1].recv(64) == b"ok x lines=1 rejected=0\n"
        server.wait_count("t", 3)
    finally:
        for s in crowd:
            s.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert server.stop() == 0


def cpu_seconds(server):
    fields = open(f"/proc/{server.process.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def a_folder_that_goes_away_stops_the_server(env):
    for how in ("removed", "replaced"):
        server = env.server(data=how, log=f"{how}.log")
        server.send("t v=1i 1\n")
        elsewhere = env.tmp / f"{how}-elsewhere"
        server.data.rename(elsewhere)
        if how == "replaced":
            server.data.mkdir()
            (server.data / "lock").touch()
        assert server.process.wait(30) == 66
        log = (env.tmp / f"{how}.log").read_text()
        assert "the data directory was removed or replaced" in log, log
        # Back in its place, all of it is there.
        shutil.rmtree(server.data, ignore_errors=True)
        elsewhere.rename(server.data)
        server.start()
        server.wait_count("t", 1)
        assert server.stop() == 0


def a_failed_sync_ends_the_process_before_anything_is_acknowledged(env):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise harness.Skip("no C compiler for a library that lets syncs fail")
    library, flag = env.tmp / "failing_sync.so", env.tmp / "fail"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, harness.ROOT / "tests/e2e/failing_sync.c", "-ldl"], check=True)
    server = env.server(environment={"LD_PRELOAD": str(library), "FAIL_SYNC": str(flag)})
    server.send("t v=1i 1\nt v=2i 2\n")
    with server.connect() as s:
        flag.touch()
        try:
            s.sendall(b"t v=3i 3\n# ack x\n")
            s.shutdown(socket.SHUT_WR)
            answer = s.recv(64)
        except OSError:
            answer = None
    assert answer is None, f"a sync failed, and the answer was {answer!r}"
    assert server.process.wait(30) == 74
    assert "a sync failed" in (env.tmp / "server.log").read_text()
    flag.unlink()
    server.start()
    # What was acknowledged is there; what was not may be.
    wait_until("the rows", lambda: server.one("SELECT count(*) FROM t") in (2, 3))
    assert server.stop() == 0
