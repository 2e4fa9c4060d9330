"""A real Telegraf streams its inputs; the server is killed and restarted under it; a bad line costs that line only."""
import time

from harness import wait_until

CONFIG = """
[agent]
  interval = "1s"
  flush_interval = "1s"
  metric_batch_size = 100
  omit_hostname = false
  hostname = "e2e"
  logfile = ""
[[outputs.socket_writer]]
  address = "tcp://127.0.0.1:{ilp}"
  data_format = "influx"
  influx_uint_support = true
[[inputs.cpu]]
[[inputs.mem]]
[[inputs.disk]]
[[inputs.net]]
  ignore_protocol_stats = true
[[inputs.system]]
[[inputs.tail]]
  files = ["{tail}"]
  from_beginning = true
  watch_method = "poll"
  data_format = "influx"
"""


def telegraf_streams_through_a_restart_and_a_bad_line(env):
    binary = env.peer("telegraf")
    server = env.server()
    tail = env.tmp / "tail.lp"
    # Claims the type of `v`; the second of Telegraf's lines below then conflicts.
    server.send("tailed,source=seed v=0i 1\n")
    tail.write_text('tailed,source=tail v=1i 1700000000000000001\ntailed,source=tail v="text" 1700000000000000002\ntailed,source=tail v=3i 1700000000000000003\n')
    config = env.tmp / "telegraf.conf"
    config.write_text(CONFIG.format(ilp=server.ilp, tail=tail))
    telegraf = env.start([binary, "--config", config], "telegraf.log")
    tables = ["cpu", "mem", "disk", "net", "system"]
    for table in tables:
        wait_until(f"rows in {table}", lambda: server.one(f"SELECT count(*) FROM {table}") > 0)
    wait_until("the neighbours of the bad line", lambda: server.one("SELECT count(*) FROM tailed WHERE source = 'tail'") == 2)
    status = server.get("/metrics")[1]
    assert 'headwater_lines_rejected_total{reason="type_conflict"} 1' in status
    before = {t: server.one(f"SELECT count(*) FROM {t}") for t in tables}
    server.kill()
    time.sleep(1.5)
    server.start()
    assert telegraf.poll() is None, "telegraf gave up"
    for table in tables:
        wait_until(f"more rows in {table} after the restart", lambda: server.one(f"SELECT count(*) FROM {table}") > before[table])
    host = server.sql("SELECT DISTINCT host FROM cpu")
    assert host == [["e2e"]], host
    idle = server.one("SELECT max(usage_idle) FROM cpu WHERE cpu = 'cpu-total'")
    # Telegraf divides differences of counters: a percentage may exceed 100 by the rounding of its floats.
    assert -1e-6 <= idle <= 100 + 1e-6, idle
    used = server.sql("SELECT used_percent, total FROM mem ORDER BY time DESC LIMIT 1")[0]
    assert 0 < used[0] < 100 and used[1] > 1 << 28, used
    assert server.stop() == 0
