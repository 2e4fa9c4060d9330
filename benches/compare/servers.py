"""The servers that the comparisons of this folder run: how each is fetched, started, asked and stopped.

Needs Linux (/proc) and nothing beyond Python's standard library; scripts/peers fetches the peers.
"""

import json
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
START_SECONDS_MAX = 90
SETTLE_SECONDS_MAX = 900


# QuestDB keeps a file open for each column of each table and connection: a hundred tables take more than 20,000.
for files in (1 << 20, resource.getrlimit(resource.RLIMIT_NOFILE)[1]):
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
        break
    except (ValueError, OSError):
        pass  # only root may have more than the hard limit


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get(url, timeout=60):
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return answer.read().decode()


def disk_bytes(folder):
    """Blocks that are really allocated, so that neither sparse nor reserved files are misjudged."""
    files = (os.path.join(path, name) for path, _, names in os.walk(folder) for name in names)
    return sum(os.lstat(file).st_blocks * 512 for file in files)


def peer(script, cache):
    """The last line that a script of scripts/peers prints: the path of what it fetched."""
    run = subprocess.run([ROOT / "scripts/peers" / script, cache], stdout=subprocess.PIPE, text=True, check=True)
    return run.stdout.splitlines()[-1]


class Server:
    """One server process on a folder of its own. Subclasses say how to start it and how to ask it."""

    bench_flags = []

    def __init__(self, folder):
        self.folder = folder
        self.ilp, self.http = free_port(), free_port()
        self.process = None
        self.anon_bytes_max = 0

    def __enter__(self):
        os.makedirs(self.folder)
        self.log_path = self.folder + ".log"
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise SystemExit(f"{self.name} does not start; its output:\n{open(self.log_path).read()[-2000:]}")
            time.sleep(0.1)
        threading.Thread(target=self.watch_memory, daemon=True).start()
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(120)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def ready(self):
        try:
            self.http_ready()
            socket.create_connection(("127.0.0.1", self.ilp), timeout=1).close()
            return True
        except (OSError, urllib.error.URLError):
            return False

    def http_ready(self):
        get(self.url("/health"))

    def select(self, sql, timeout=60):
        """Runs a statement; the rows of its answer, if it has any."""
        return json.loads(get(self.url("/exec", query=sql), timeout)).get("dataset")

    def url(self, path, **query):
        return f"http://127.0.0.1:{self.http}{path}" + ("?" + urllib.parse.urlencode(query) if query else "")

    def status(self, field):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"^{field}:\s+(\d+) kB", text, re.M)
        return int(found[1]) * 1024 if found else 0

    def watch_memory(self):
        try:
            while self.process.poll() is None:
                self.anon_bytes_max = max(self.anon_bytes_max, self.status("RssAnon"))
                time.sleep(0.2)
        except OSError:
            pass  # the process ended between the look and the read

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def visible(self, rows):
        """Whether all `rows` sent so far can be queried; bench has waited for that where it can count."""
        return True

    def settled(self):
        """Whether no work on the rows is left to do; bench has asked Headwater for it."""
        return True

    def wait_for(self, what, *args):
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        while not getattr(self, what)(*args):
            if time.monotonic() > deadline:
                raise SystemExit(f"{self.name}: rows are not {what} within {SETTLE_SECONDS_MAX} s")
            time.sleep(0.02)
        return time.time()


class Headwater(Server):
    name = "headwater"

    @staticmethod
    def fetch(args):
        if not os.access(args.headwater, os.X_OK):
            raise SystemExit(f"{args.headwater} is missing: cargo build --release")
        Headwater.binary, Headwater.flags = args.headwater, args.serve_flags.split()

    def command(self):
        return [self.binary, "serve", "--data-dir", self.folder, "--ilp-addr", f"127.0.0.1:{self.ilp}",
                "--http-addr", f"127.0.0.1:{self.http}", *self.flags]


class QuestDB(Server):
    name = "questdb"
    bench_flags = ["--no-ack"]

    @staticmethod
    def fetch(args):
        QuestDB.jar = peer("questdb.sh", args.cache)
        QuestDB.settings = args.questdb_conf

    def command(self):
        settings = {"http.bind.to": f"127.0.0.1:{self.http}", "line.tcp.net.bind.to": f"127.0.0.1:{self.ilp}",
                    "http.min.enabled": "false", "pg.enabled": "false", "line.udp.enabled": "false",
                    "telemetry.enabled": "false", **dict(s.split("=", 1) for s in self.settings)}
        conf = pathlib.Path(self.folder, "conf")
        conf.mkdir()
        conf.joinpath("server.conf").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        return ["java", "-XX:+UseParallelGC", "-cp", self.jar, "io.questdb.ServerMain", "-d", self.folder]

    def http_ready(self):
        self.select("select 1")

    def settled(self):
        return all(applied == sequenced for applied, sequenced in
                   self.select("select writerTxn, sequencerTxn from wal_tables()"))


class VictoriaMetrics(Server):
    name = "victoria-metrics"
    bench_flags = ["--no-ack", "--no-count"]
    samples_per_line = 10

    @staticmethod
    def fetch(args):
        VictoriaMetrics.binary = peer("victoria-metrics.sh", args.cache)

    def command(self):
        return [self.binary, "-storageDataPath", self.folder, "-httpListenAddr", f"127.0.0.1:{self.http}",
                "-influxListenAddr", f"127.0.0.1:{self.ilp}", "-retentionPeriod", "100y",
                "-search.latencyOffset", "0s"]

    def metric(self, pattern):
        samples = re.findall(rf"^{pattern} (\S+)$", get(self.url("/metrics")), re.M)
        return int(sum(float(value) for value in samples))

    def visible(self, rows):
        taken = self.metric(r'vm_rows_inserted_total\{type="influx"\}')
        return taken >= rows * self.samples_per_line and self.metric(r'vm_pending_rows\{type="storage"\}') == 0

    def settled(self):
        return self.metric(r"vm_active_merges\{[^}]*\}") == 0


BY_NAME = {server.name: server for server in (Headwater, QuestDB, VictoriaMetrics)}


def add_arguments(parser):
    """The flags that say what is run, and where."""
    parser.add_argument("--headwater", default=str(ROOT / "target/release/headwater"), help="binary [%(default)s]")
    parser.add_argument("--serve-flags", default="", help="more flags of headwater serve")
    parser.add_argument("--questdb-conf", action="append", default=[], metavar="KEY=VALUE",
                        help="more settings of QuestDB, such as cairo.commit.mode=sync")
    parser.add_argument("--cache", default=os.path.expanduser("~/.cache/headwater-peers"),
                        help="folder for the peers [%(default)s]")
    parser.add_argument("--work", help="folder for the data; on the disk to be measured [a temporary one]")
