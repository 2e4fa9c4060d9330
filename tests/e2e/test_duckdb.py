"""DuckDB reads the parts that `headwater files` lists while the server ingests and compacts, and the folder after a stop."""
import json
import subprocess
import threading

from harness import wait_until

READER = """
import duckdb, json, sys
files = json.load(sys.stdin)
con = duckdb.connect()
print(json.dumps(con.execute(sys.argv[1], [files]).fetchall(), default=str))
"""
SUMS = "SELECT count(*), sum(n), min(n), max(n), count(DISTINCT host), sum(load) FROM {}"


def duckdb(python, files, sql):
    done = subprocess.run([python, "-c", READER, sql], input=json.dumps(files), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)[0]


def duckdb_agrees_while_ingesting_and_after_a_stop(env):
    python = env.peer("duckdb")
    config = env.tmp / "headwater.toml"
    # Small tails, so that parts and compactions come soon.
    config.write_text("[apply]\nflush_bytes = 400000\nflush_age_ms = 500\n")
    server = env.server("--config", config)
    stop = threading.Event()
    counts = [0]

    def load():
        n = 0
        while not stop.is_set():
            block = "".join(f"duck,host=h{i % 50} n={i}i,load={i % 7}.5,name=\"row {i}\" {1_700_000_000_000_000_000 + i * 60_000_000_000}\n"
                            for i in range(n, n + 2000))
            server.send(block)
            n += 2000
            counts[0] = n

    loader = threading.Thread(target=load, daemon=True)
    loader.start()
    try:
        wait_until("parts", lambda: len(listed(env, server)) >= 3)
        last = 0
        for _ in range(8):
            files = listed(env, server)
            rows, total, first, most, hosts, _ = duckdb(python, files, SUMS.format("read_parquet(?)"))
            # Flushes go in commit order, so what is listed is a prefix of what was sent.
            assert first == 0 and rows == most + 1 and total == most * (most + 1) // 2, (rows, total, first, most)
            assert hosts == 50 and rows >= last, (hosts, rows, last)
            last = rows
        wait_until("a compaction", lambda: server.metric("headwater_compactions_total") > 0)
    finally:
        stop.set()
        loader.join(60)
    server.wait_count("duck", counts[0])
    mine = server.sql(SUMS.format("duck"))[0]
    assert server.stop() == 0
    glob = [str(p) for p in server.data.glob("tables/duck~*/*/*.parquet")]
    theirs = duckdb(python, glob, SUMS.format("read_parquet(?)"))
    assert [float(x) for x in mine] == [float(x) for x in theirs], (mine, theirs)
    columns = "SELECT count(*) FROM (SELECT \"time\", host, n, load, name FROM read_parquet(?) WHERE name = 'row 77' AND hw_day IS NOT NULL)"
    assert duckdb(python, glob, columns) == [1]


def listed(env, server):
    done = subprocess.run([env.binary, "files", "duck", "--http-addr", f"127.0.0.1:{server.http}"],
                          capture_output=True, text=True, timeout=60)
    return done.stdout.split() if done.returncode == 0 else []
