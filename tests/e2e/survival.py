"""A load that notes what was acknowledged, and the question that follows every sudden end: is all of it there, once, as a prefix?"""
import http.client
import random
import socket
import threading
import time

from harness import Failure

# Rows of a table; the queries that follow an end read a whole table, so it must not grow for ever.
CYCLES_OF_A_TABLE = 5
# How often a long run says how far it is.
CYCLES_SHOWN = 50
BASE = 1_700_000_000_000_000_000


class Client(threading.Thread):
    """Streams numbered rows over one connection and remembers the last one that the server acknowledged."""

    def __init__(self, server, table, client, start):
        super().__init__(daemon=True)
        self.server, self.table, self.client = server, table, client
        self.sent = self.acknowledged = start
        self.failure = None

    def run(self):
        try:
            self.stream()
        except (OSError, Failure):
            pass  # The server ended under us; that is the point.
        except AssertionError as failure:
            self.failure = failure

    def block(self):
        first, rows = self.sent, random.randrange(1, 400)
        # Noted before it is handed over: what may have arrived counts as sent.
        self.sent = first + rows
        return rows, "".join(f"{self.table},c=c{self.client} n={n}i,check={(n * 31 + self.client) % 1009}i {BASE + n * 1_000_000}\n"
                             for n in range(first, first + rows))

    def stream(self):
        """One connection, each block followed by a request for its acknowledgement."""
        with self.server.connect() as s:
            replies = s.makefile("rb")
            while True:
                rows, block = self.block()
                s.sendall(f"{block}# ack t{self.sent}\n".encode())
                reply = replies.readline().decode().split()
                if not reply:
                    return
                assert reply[0] == "ok" and reply[1] == f"t{self.sent}", reply
                assert reply[2] == f"lines={rows}" and reply[3] == "rejected=0", reply
                self.acknowledged = self.sent


class FinClient(Client):
    """A connection for each block, half-closed: a FIN in answer is the acknowledgement, a reset is none."""

    def stream(self):
        while True:
            with self.server.connect() as s:
                _, block = self.block()
                s.sendall(block.encode())
                s.shutdown(socket.SHUT_WR)
                rest = s.recv(64)
                assert rest == b"", rest
                self.acknowledged = self.sent


class Load:
    """Clients over many lives of a server; `kinds` has a class for each."""

    def __init__(self, server, kinds):
        self.server, self.kinds = server, kinds
        self.cycle = self.rows = self.acknowledged = 0
        self.tables = {}

    def table(self):
        return f"kill_{self.cycle // CYCLES_OF_A_TABLE}"

    def run_until(self, end):
        """Starts the clients, calls `end`, which ends the server, and waits for them to notice."""
        at = self.tables.setdefault(self.table(), [0] * len(self.kinds))
        self.clients = [kind(self.server, self.table(), c, at[c]) for c, kind in enumerate(self.kinds)]
        for client in self.clients:
            client.start()
        end()
        for client in self.clients:
            client.join(90)
            assert not client.is_alive(), "a client did not notice the end"
            if client.failure:
                raise client.failure

    def audit(self):
        """The server is up again: every client's rows are a prefix that holds all that was acknowledged."""
        table, at = self.table(), self.tables[self.table()]
        stored = groups(self.server, table, any(c.acknowledged for c in self.clients))
        for client in self.clients:
            rows, distinct, first, last, checked = stored.get(f"c{client.client}", (0, 0, 0, -1, 0))
            who = f"cycle {self.cycle}, {table}, client {client.client}"
            expected = sum((n * 31 + client.client) % 1009 for n in range(rows))
            assert checked == expected, f"{who}: rows that nobody sent"
            assert rows == distinct == last + 1 and first == 0, f"{who}: {rows} rows, {distinct} distinct, {first} to {last}"
            assert client.acknowledged <= rows <= client.sent, \
                f"{who}: acknowledged {client.acknowledged}, stored {rows}, sent {client.sent}"
            self.rows += rows - at[client.client]
            self.acknowledged += client.acknowledged - at[client.client]
            # The next life of this client goes on behind what was stored, so that a hole would show.
            at[client.client] = rows
        self.cycle += 1
        if self.cycle % CYCLES_SHOWN == 0:
            print(f"      {self.cycle} ends, {self.rows} rows so far", flush=True)

    def close(self):
        """All tables, as the cycles left them; and the reports, which sum up to the same."""
        total = sum(sum(at) for at in self.tables.values())
        stored = sum(self.server.one(f"SELECT count(*) FROM {table}") for table in self.tables)
        assert stored == total == self.rows and total > 0, (stored, total, self.rows)
        reported = lambda: self.server.one("SELECT sum(row_count) FROM write_reports WHERE table_name LIKE 'kill_%'")
        end = time.monotonic() + 60
        while reported() != total:
            assert time.monotonic() < end, f"reports sum to {reported()}, the tables have {total}"
            time.sleep(0.2)


def groups(server, table, must_exist):
    """Count, distinct, first, last and sum of checks by client, once the server has caught up with its log."""
    end = time.monotonic() + 180
    last = None
    while True:
        try:
            # The lag first: what is counted after it was 0 is everything.
            lag = server.sql("SELECT sum(lag_transactions) FROM wal_tables()")
            exists = server.sql(f"SELECT count(*) FROM wal_tables() WHERE name = '{table}'")[0][0]
            if not (lag and lag[0][0]):
                if not exists and not must_exist:
                    return {}
                rows = server.sql(f'SELECT c, count(*), count(DISTINCT n), min(n), max(n), sum("check") FROM {table} GROUP BY c')
                return {row[0]: row[1:] for row in rows}
            last = f"lag {lag}"
        except (OSError, http.client.HTTPException, Failure) as error:
            last = error
        assert time.monotonic() < end, f"the server does not catch up: {last}"
        time.sleep(0.05)
