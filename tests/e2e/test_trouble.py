"""What goes wrong around the process: a full disk, no more descriptors, a folder that goes away, a device that fails to sync."""
import os
import resource
import shutil
import socket
import struct
import subprocess
import threading
import time
import urllib.parse

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


def begin_load(server, table):
    """Loaders at work, and how many of their rows have been acknowledged."""
    loaders = [Loader(server, table, c) for c in range(CONNECTIONS)]
    acknowledged = lambda: sum(loader.acknowledged for loader in loaders)
    for loader in loaders:
        loader.start()
    wait_until("the load to begin", lambda: acknowledged() > 0)
    return loaders, acknowledged


def end_load(loaders):
    """Lets them finish; none has met anything but acknowledgements."""
    for loader in loaders:
        loader.stop = True
    for loader in loaders:
        loader.join(120)
        assert not loader.is_alive() and loader.failure is None, loader.failure


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
    loaders, acknowledged = begin_load(server, table)
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
    end_load(loaders)
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


def failing_files(env):
    """A library that lets syncs and writes fail on demand, and the flags that demand it."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise harness.Skip("no C compiler for a library that lets syncs and writes fail")
    library, sync, write, slow = (env.tmp / name for name in ("failing_files.so", "fail-sync", "fail-write", "slow-sync"))
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, harness.ROOT / "tests/e2e/failing_files.c", "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "FAIL_SYNC": str(sync), "FAIL_WRITE": str(write), "SLOW_SYNC": str(slow)}, sync, write, slow


def a_disk_that_is_read_only_for_a_while_is_waited_for(env):
    environment, _, flag, _ = failing_files(env)
    server = env.server(environment=environment)
    pid = server.process.pid
    loaders, acknowledged = begin_load(server, "t")
    flag.touch()
    wait_until("the load to wait", lambda: stands_still(acknowledged))
    before = acknowledged()
    # It answers, sees nothing wrong with itself, and does not spin.
    assert server.get("/ready")[0] == 200 and server.get("/metrics")[0] == 200
    spent = cpu_seconds(server)
    time.sleep(2)
    spent = (cpu_seconds(server) - spent) / 2
    assert acknowledged() == before and spent < 0.2, f"{spent:.0%} of a core while it waits"
    flag.unlink()
    wait_until("the load to go on", lambda: acknowledged() > before + CONNECTIONS * ROWS)
    end_load(loaders)
    assert server.process.pid == pid and server.process.poll() is None
    server.wait_count("t", acknowledged())
    assert server.stop() == 0


def a_device_that_takes_a_second_for_a_sync_slows_clients_down_and_nothing_else(env):
    environment, _, _, flag = failing_files(env)
    server = env.server(environment=environment | {"HEADWATER_APPLY_MEMORY_BYTES": str(64 << 20)})
    loaders, acknowledged = begin_load(server, "t")
    flag.touch()
    time.sleep(1.5)
    before, memory = acknowledged(), server.metric("process_anonymous_memory_bytes")
    time.sleep(8)
    slow = acknowledged() - before
    # Each round of commits waits for its syncs, all connections share them, and nobody is told to go away.
    assert slow >= CONNECTIONS * ROWS and not any(loader.failure for loader in loaders), (slow, [l.failure for l in loaders])
    assert server.get("/ready")[0] == 200
    assert server.metric("process_anonymous_memory_bytes") < memory + (128 << 20)
    flag.unlink()
    before = acknowledged()
    wait_until("the load to be itself again", lambda: acknowledged() > before + 10 * CONNECTIONS * ROWS)
    end_load(loaders)
    server.wait_count("t", acknowledged())
    assert server.stop() == 0
    print(f"      {slow / 8:.0f} acknowledged rows/s while each sync takes a second longer", flush=True)


def connections_that_come_and_go_by_the_thousand_leave_nothing_behind(env):
    server = env.server()
    server.send("t v=0i 0\n")
    server.get("/ready")
    descriptors = lambda: len(os.listdir(f"/proc/{server.process.pid}/fd"))
    before, begun, sent = descriptors(), time.monotonic(), 0
    for n in range(5_000):
        s = server.connect()
        kind = n % 5
        if kind == 0:
            s.sendall(f"t v={n}i {n + 1}\n".encode())
            s.shutdown(socket.SHUT_WR)
            assert s.recv(1) == b""
            sent += 1
        elif kind == 1:
            s.sendall(b"t v=1i")  # Not a line, and never one.
        elif kind == 2:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif kind == 3:
            s.sendall(b"POST /write HTTP/1.1\r\n\r\n")
        s.close()
    took = time.monotonic() - begun
    wait_until("all to be gone", lambda: server.metric("headwater_connections") == 0)
    wait_until("descriptors to come back", lambda: descriptors() <= before + 8)
    server.wait_count("t", sent + 1)
    assert len(list((server.data / "wal").glob("*/*.wal"))) < 100
    assert server.stop() == 0
    print(f"      {5_000 / took:.0f} connections/s", flush=True)


def stands_still(count):
    before = count()
    time.sleep(1)
    return count() == before


def a_file_system_that_turns_read_only_loses_nothing(env):
    """The kernel's own answer to a bad disk: ext4 goes read-only under the server, which nobody can undo while it runs."""
    image, disk = env.tmp / "image", env.tmp / "disk"
    disk.mkdir()
    with open(image, "wb") as f:
        f.truncate(256 << 20)
    made = subprocess.run(["mkfs.ext4", "-q", image], capture_output=True, text=True) if shutil.which("mkfs.ext4") else None
    mount = lambda: subprocess.run(["mount", "-o", "loop,errors=remount-ro", image, disk], capture_output=True, text=True)
    mounted = mount() if made and made.returncode == 0 else made
    if mounted is None or mounted.returncode != 0:
        raise harness.Skip(f"no file system of its own: {mounted.stderr.strip() if mounted else 'mkfs.ext4 is missing'}")
    try:
        device = next(line.split()[0] for line in open("/proc/mounts") if line.split()[1] == str(disk))
        trigger = f"/sys/fs/ext4/{os.path.basename(device)}/trigger_fs_error"
        if not os.access(trigger, os.W_OK):
            raise harness.Skip("this kernel has no way to report an error of a file system on demand")
        server = env.server(data="disk/data")
        loaders, acknowledged = begin_load(server, "t")
        wait_until("some of the load", lambda: acknowledged() > CONNECTIONS * ROWS)
        with open(trigger, "w") as f:
            f.write("1")
        # Writes are waited for as on a full disk; a sync that fails ends the process, as ever. Nobody is told more than is true.
        wait_until("the load to stand still, or the server to end", lambda: server.process.poll() is not None or stands_still(acknowledged))
        said = server.process.poll()
        assert said in (None, 74), said
        if said is None:
            assert server.get("/ready")[0] == 200
            server.kill()
        for loader in loaders:
            loader.stop = True
            loader.join(120)
        promised = acknowledged()
        subprocess.run(["umount", disk], check=True)
        subprocess.run(["e2fsck", "-fy", image], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert mount().returncode == 0
        server.start()
        found = lambda: server.one("SELECT count(*) FROM t")
        wait_until("what was acknowledged", lambda: found() >= promised)
        # A block that was under way may be there, or not; none is there in part.
        assert found() - promised <= CONNECTIONS * ROWS and found() % ROWS == 0, (found(), promised)
        assert server.one("SELECT count(*) FROM (SELECT DISTINCT c, n FROM t)") == found()
        assert server.stop() == 0
        print(f"      read-only at {promised} acknowledged rows: the server {'waited' if said is None else 'ended with 74'}, {promised} were there", flush=True)
    finally:
        env.stop_all()
        subprocess.run(["umount", disk], stderr=subprocess.DEVNULL, check=False)


def files_that_go_away_are_named_and_stop_one_table_at_most(env):
    """Segments and parts removed by hand, under a running server and before a start."""
    server = env.server(environment={"HEADWATER_APPLY_FLUSH_AGE_MS": "3600000"})
    # Too much for the log to carry it.
    large = "".join(f"a,h=x v={n}i,s=\"{n * 7919:0100}\" {n}\n" for n in range(3000))
    server.send(large)
    server.send("b,h=x v=1i 1\n")
    server.wait_count("a", 3000)
    server.wait_count("b", 1)
    for segment in (server.data / "wal").glob("*/*.wal"):
        segment.unlink()
    # What is visible stays so, and others go on.
    server.send("b,h=x v=2i 2\n")
    server.wait_count("b", 2)
    assert server.one("SELECT count(*) FROM a") == 3000
    server.kill()
    server.start()
    # The commit that the log did not carry is gone with its file: its table says so, and no other minds.
    server.wait_count("b", 2)
    rows = server.rows("SELECT * FROM wal_tables()")
    suspended = {row["name"]: row for row in rows if row.get("suspended")}
    assert list(suspended) == ["a"] and ".wal" in str(suspended["a"]), rows
    # The gauge is set once a second.
    wait_until("the gauge", lambda: server.metric("headwater_tables_suspended") == 1)
    # A part: reading it names it, reading something else does not.
    assert server.stop() == 0
    part = next((server.data / "tables").glob("b~*/*/*.parquet"))
    part.unlink()
    server.start()
    status, body = server.get("/exec?query=" + urllib.parse.quote("SELECT sum(v) FROM b"))
    assert status != 200 and part.name in body, (status, body)
    checked = subprocess.run([env.binary, "check", server.data], capture_output=True, text=True)
    assert checked.returncode == 2 and "in use" in checked.stderr, checked
    assert server.stop() == 0
    repaired = subprocess.run([env.binary, "check", server.data, "--repair"], capture_output=True, text=True)
    assert part.name in repaired.stdout and "lost: 2 rows" in repaired.stdout, repaired.stdout
    server.start()
    assert server.one("SELECT count(*) FROM b", default=None) == 0
    assert server.stop() == 0


def a_lost_catalog_is_put_together_from_the_parts_and_the_log(env):
    server = env.server(environment={"HEADWATER_APPLY_FLUSH_AGE_MS": "200"})
    for day in range(4):
        if day == 3:
            server.sql("ALTER TABLE m RENAME COLUMN s TO words")
        column = "words" if day == 3 else "s"
        server.send("".join(f"m,h=h{n % 7} v={n}i,{column}=\"x{n}\" {(day * 86_400 + n) * 1_000_000_000}\n" for n in range(500)))
    wait_until("parts", lambda: len(list((server.data / "tables").glob("m~*/*/*.parquet"))) >= 4)
    # A clean stop leaves all of it in parts, and the next life forgets the log of this one.
    assert server.stop() == 0
    server.environment = {"HEADWATER_APPLY_FLUSH_AGE_MS": "3600000"}
    server.start()
    wait_until("the first log to go", lambda: not (server.data / "wal/txnlog/00000001.log").exists())
    server.send("".join(f"m,h=late v={n}i,words=\"y\" {n}\n" for n in range(100)))
    server.wait_count("m", 2100)
    server.kill()
    whole = "SELECT count(*), sum(v), count(words), count(DISTINCT h) FROM m"
    catalog = server.data / "catalog"
    for spoil in (lambda: shutil.rmtree(catalog), lambda: spoil_first(catalog)):
        spoil()
        refused = subprocess.run([env.binary, "serve", "--data-dir", server.data, "--ilp-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"],
                                 capture_output=True, text=True, timeout=60)
        assert refused.returncode == 2 and "catalog" in refused.stderr and "check --repair" in refused.stderr, refused
        repaired = subprocess.run([env.binary, "check", server.data, "--repair"], capture_output=True, text=True)
        assert '"m" into a new catalog' in repaired.stdout, repaired.stdout
        server.start()
        server.wait_count("m", 2100)
        assert server.sql(whole) == [[2100, 4 * sum(range(500)) + sum(range(100)), 2100, 8]], server.sql(whole)
        assert server.stop() == 0


def spoil_first(catalog):
    """Turns over a byte of the newest chunk's checkpoint."""
    newest = max(catalog.glob("*.log"), key=lambda path: int(path.stem))
    data = bytearray(newest.read_bytes())
    data[70] ^= 0x10
    newest.write_bytes(data)


def a_failed_sync_ends_the_process_before_anything_is_acknowledged(env):
    environment, flag, _, _ = failing_files(env)
    server = env.server(environment=environment)
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
