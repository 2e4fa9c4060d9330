"""Prometheus scrapes a loaded server, promtool accepts the text, and every query of the dashboard gives data."""
import json
import re
import subprocess
import threading
import urllib.parse
import urllib.request

from harness import ROOT, free_port, wait_until


def prometheus_scrapes_and_every_panel_has_data(env):
    folder = env.peer("prometheus").parent
    server = env.server()
    scrape = server.get("/metrics")[1]
    exported = set(re.findall(r"^# TYPE (\S+)", scrape, re.M))
    listed = dict(re.findall(r"^\| `([a-z_]+)` \| (?:counter|gauge|histogram) \| ([^|]*) \|", (ROOT / "docs/metrics.md").read_text(), re.M))
    missing = {name for name, labels in listed.items() if "table" not in labels and "endpoint" not in labels} - exported
    assert not missing, f"not exported from the start: {missing}"
    config = env.tmp / "prometheus.yml"
    text = (ROOT / "grafana/prometheus.yml").read_text()
    config.write_text(text.replace("127.0.0.1:9000", f"127.0.0.1:{server.http}").replace("scrape_interval: 5s", "scrape_interval: 1s"))
    checked = subprocess.run([folder / "promtool", "check", "config", config], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    port = free_port()
    env.start([folder / "prometheus", f"--config.file={config}", f"--storage.tsdb.path={env.tmp / 'tsdb'}",
               f"--web.listen-address=127.0.0.1:{port}"], "prometheus.log")
    stop = threading.Event()
    loader = threading.Thread(target=load, args=(server, stop), daemon=True)
    loader.start()
    try:
        check = subprocess.run([folder / "promtool", "check", "metrics"], input=server.get("/metrics")[1], capture_output=True, text=True)
        assert check.returncode == 0, check.stdout + check.stderr
        panels = [(p["title"], t["expr"]) for p in json.loads((ROOT / "grafana/dashboards/headwater.json").read_text())["panels"]
                  for t in p.get("targets", [])]
        assert len(panels) > 30
        empty = wait_until_all(port, panels)
        assert not empty, "panels without data:\n" + "\n".join(f"  {t}: {e}" for t, e in empty)
    finally:
        stop.set()
        loader.join(60)


def wait_until_all(port, panels):
    """The panels that have no data after all that patience."""
    left = list(panels)

    def ask():
        left[:] = [(t, e) for t, e in left if not has_data(port, e)]
        return not left
    try:
        wait_until("every panel", ask, seconds=90, step=1.0)
    except Exception:
        pass
    return left


def has_data(port, expr):
    expr = expr.replace("$__rate_interval", "10s").replace("$job", ".*").replace("$instance", ".*")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?query=" + urllib.parse.quote(expr), timeout=20) as r:
            result = json.load(r)["data"]["result"]
    except OSError:
        return False
    return any(s["value"][1] != "NaN" for s in result)


def load(server, stop):
    n = 0
    while not stop.is_set():
        block = "".join(f"prom,host=h{i % 10} v={i}i {1_700_000_000_000_000_000 + i}\n" for i in range(n, n + 500))
        server.send(block + "a bad line\n")
        server.one("SELECT count(*) FROM prom")
        server.sql("FLUSH")
        n += 500
