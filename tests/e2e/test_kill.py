"""SIGKILL in the middle of a load: acknowledged rows are there, once, each connection's as a prefix, and reports still sum up."""
import random
import threading
import time

CONNECTIONS = 8
CYCLES = 10


class Client(threading.Thread):
    """Streams numbered rows and remembers the last one that the server acknowledged."""

    def __init__(self, server, client, start):
        super().__init__(daemon=True)
        self.server, self.client = server, client
        self.sent = self.acknowledged = start

    def run(self):
        try:
            self.stream()
        except OSError:
            pass  # The server was killed under us; that is the point.

    def stream(self):
        with self.server.connect() as s:
            replies = s.makefile("rb")
            while True:
                first = self.sent
                rows = random.randrange(1, 400)
                block = "".join(f"kill,c=c{self.client} n={n}i,check={(n * 31 + self.client) % 1009}i {1_700_000_000_000_000_000 + n * 1_000_000}\n"
                                for n in range(first, first + rows))
                self.sent = first + rows
                s.sendall(f"{block}# ack t{self.sent}\n".encode())
                reply = replies.readline().decode().split()
                if not reply:
                    return
                assert reply[0] == "ok" and reply[1] == f"t{self.sent}", reply
                assert reply[2] == f"lines={rows}" and reply[3] == "rejected=0", reply
                self.acknowledged = self.sent


def acknowledged_rows_survive_kills(env):
    server = env.server()
    sent, acknowledged = [0] * CONNECTIONS, [0] * CONNECTIONS
    for cycle in range(CYCLES):
        clients = [Client(server, c, sent[c]) for c in range(CONNECTIONS)]
        for client in clients:
            client.start()
        time.sleep(random.uniform(0.05, 1.5))
        server.kill()
        for client in clients:
            client.join(30)
            assert not client.is_alive(), "a client did not notice the kill"
        server.start()
        for c, client in enumerate(clients):
            acknowledged[c] = client.acknowledged
            stored = audit(server, c, client.acknowledged, client.sent)
            # The next life of this client goes on behind what was stored, so that a hole would show.
            sent[c] = stored
    total = server.one("SELECT count(*) FROM kill")
    assert total == sum(sent) and total > 0, (total, sent)
    reported = lambda: server.one("SELECT sum(row_count) FROM write_reports WHERE table_name = 'kill'")
    end = time.monotonic() + 30
    while reported() != total:
        assert time.monotonic() < end, f"reports sum to {reported()}, the table has {total}"
        time.sleep(0.2)
    assert server.stop() == 0


def audit(server, client, acknowledged, sent):
    """Checks one connection's rows and returns how many there are."""
    def count():
        rows = server.sql(f"SELECT count(*), count(DISTINCT n), coalesce(min(n), 0), coalesce(max(n), -1), "
                          f"coalesce(sum(CASE WHEN \"check\" = (n * 31 + {client}) % 1009 THEN 0 ELSE 1 END), 0) "
                          f"FROM kill WHERE c = 'c{client}'")
        return rows[0]
    end = time.monotonic() + 60
    while True:
        try:
            # The lag first: what is counted after it was 0 is everything.
            lag = server.sql("SELECT sum(lag_transactions) FROM wal_tables()")[0][0]
            rows, distinct, first, last, wrong = count()
        except Exception:
            rows, distinct, first, last, wrong, lag = 0, 0, 0, -1, 0, 1
            if acknowledged == 0:
                lag = 0
        if not lag:
            break
        assert time.monotonic() < end, "the server does not catch up"
        time.sleep(0.1)
    assert wrong == 0, f"client {client}: {wrong} rows that nobody sent"
    assert rows == distinct == last + 1 and first == 0, f"client {client}: {rows} rows, {distinct} distinct, {first} to {last}"
    assert acknowledged <= rows <= sent, f"client {client}: acknowledged {acknowledged}, stored {rows}, sent {sent}"
    return rows


