"""What every end-to-end test needs: servers that are ended by their process id, queries, and line-protocol sockets."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Failure(Exception):
    """A test cannot go on: a program is missing or did not start."""


class Skip(Exception):
    """This machine lacks what a test needs, and the test may go without; the run says so at its end."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(what, check, seconds=60.0, step=0.05):
    """Polls until check() is true; its last value is returned."""
    end = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"waited {seconds:.0f} s for {what}; last: {value!r}")
        time.sleep(step)


class Env:
    """One test's folder, and every process it started; how many sudden ends and how much rubbish it is to bring about."""

    def __init__(self, binary, tmp, cache, kills=30, cuts=5, abuse=64):
        self.binary, self.tmp, self.cache = binary, tmp, cache
        self.kills, self.cuts, self.abuse = kills, cuts, abuse
        self.processes = []

    def peer(self, name):
        """Installs a peer into the cache by its script and returns what the script printed last: where it is."""
        script = ROOT / "scripts" / "peers" / f"{name}.sh"
        target = self.cache / name
        target.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([script, target], capture_output=True, text=True, timeout=1500)
        if done.returncode != 0:
            raise Failure(f"{name} cannot be installed:\n{done.stdout}\n{done.stderr}")
        return pathlib.Path(done.stdout.strip().splitlines()[-1])

    def start(self, command, log, **kwargs):
        out = open(self.tmp / log, "a")
        process = subprocess.Popen([str(c) for c in command], stdout=out, stderr=out, stdin=subprocess.DEVNULL, **kwargs)
        process.log = self.tmp / log
        self.processes.append(process)
        return process

    def server(self, *args, data="data", log="server.log", **process):
        return Server(self, self.tmp / data, list(args), log, **process)

    def stop_all(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()

    def show_logs(self):
        for log in sorted(self.tmp.glob("*.log")):
            tail = log.read_text(errors="replace").splitlines()[-25:]
            print(f"--- {log.name}\n" + "\n".join(tail), flush=True)


class Endpoint:
    """A headwater to talk to on loopback, wherever it runs; `process` is what ends when it does."""

    def __init__(self):
        self.ilp, self.http = free_port(), free_port()
        self.process = None

    def wait_ready(self, seconds=60):
        def ready():
            if self.process.poll() is not None:
                raise Failure(f"the server ended with {self.process.returncode}")
            try:
                return self.get("/ready", timeout=5)[0] == 200
            except OSError:
                return False
        wait_until("the server to be ready", ready, seconds)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def get(self, path, data=None, timeout=60):
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data=data)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as r:
                return r.status, r.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()

    def sql(self, query, timeout=60):
        """Rows of a query, as lists; the /exec shape."""
        status, body = self.get("/exec?query=" + urllib.parse.quote(query), timeout=timeout)
        if status != 200:
            raise Failure(f"{query}: {status} {body}")
        return json.loads(body).get("dataset", [])

    def rows(self, query):
        """Rows of a query, as dictionaries; the /api/v3/query_sql shape."""
        status, body = self.get("/api/v3/query_sql?format=json&q=" + urllib.parse.quote(query))
        if status != 200:
            raise Failure(f"{query}: {status} {body}")
        return json.loads(body)

    def one(self, query, default=0):
        """The single value of a query; `default` while its table does not exist."""
        try:
            return self.sql(query)[0][0]
        except Failure:
            return default

    def wait_count(self, table, expect, seconds=60):
        return wait_until(f"{expect} rows in {table}",
                          lambda: self.one(f'SELECT count(*) FROM "{table}"') == expect, seconds)

    def connect(self):
        s = socket.create_connection(("127.0.0.1", self.ilp), timeout=60)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def send(self, lines):
        """Sends lines, half-closes, and returns once the server's FIN says that they are durable."""
        if isinstance(lines, str):
            lines = lines.encode()
        with self.connect() as s:
            s.sendall(lines)
            s.shutdown(socket.SHUT_WR)
            rest = s.recv(1)
            assert rest == b"", f"the server said {rest!r}"

    def metric(self, name):
        """The sum of a family's samples."""
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(name) and line[len(name)] in " {":
                total += float(line.rsplit(" ", 1)[1])
        return total


class Server(Endpoint):
    """A headwater that can be stopped, killed and started again on the same folder and ports."""

    def __init__(self, env, data, args, log, environment=None, **process):
        self.env, self.data, self.args, self.log, self.environment, self.options = env, data, args, log, environment or {}, process
        super().__init__()
        self.start()

    def launch(self):
        """Starts the process and does not wait for it."""
        self.process = self.env.start(
            [self.env.binary, "serve", "--data-dir", self.data, "--ilp-addr", f"127.0.0.1:{self.ilp}",
             "--http-addr", f"127.0.0.1:{self.http}", *self.args], self.log,
            env=os.environ | self.environment, **self.options)

    def start(self):
        self.launch()
        self.wait_ready()

    def stop(self):
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)
