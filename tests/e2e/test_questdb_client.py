"""QuestDB's own client streams over TCP and HTTP in each protocol version that it shares with the server."""
import pathlib
import subprocess

HERE = pathlib.Path(__file__).parent
ROWS = 500


def questdb_clients_rows_come_out_value_by_value(env):
    python = env.peer("questdb-client")
    server = env.server()
    ways = [("tcp1", f"tcp::addr=127.0.0.1:{server.ilp};protocol_version=1;", 0),
            ("tcp2", f"tcp::addr=127.0.0.1:{server.ilp};protocol_version=2;", 1),
            ("http1", f"http::addr=127.0.0.1:{server.http};protocol_version=1;", 0),
            ("http2", f"http::addr=127.0.0.1:{server.http};protocol_version=2;", 1),
            ("auto", f"http::addr=127.0.0.1:{server.http};", 0)]
    for table, conf, arrays in ways:
        sent = subprocess.run([python, HERE / "questdb_client.py", conf, table, str(ROWS), str(arrays)],
                              capture_output=True, text=True, timeout=300)
        assert sent.returncode == 0, f"{table}: {sent.stdout}{sent.stderr}"
    for when in ("in tails", "after a restart"):
        for table, _, arrays in ways:
            server.wait_count(table, ROWS)
            stored = server.rows(f'SELECT * EXCEPT ("time"), CAST("time" AS BIGINT) AS ns FROM "{table}" ORDER BY ns')
            for n, row in enumerate(stored):
                expect = {"sym": f"s {n % 7}", "price": n / 7.0, "size": n - 250, "live": n % 2 == 0,
                          "text": 'a "quoted", line\\', "ns": 1_700_000_000_000_000_000 + n}
                # Ten elements: the count is the byte of a newline.
                expect |= {"levels": [n / 3.0] * 10, "none": []} if arrays else {}
                have = {key: value for key, value in row.items() if key != "seen"}
                assert have == expect, f"{table} {when}: {have} is not {expect}"
                assert row["seen"].startswith("2023-11-14T22:13:20"), row
        assert server.metric("headwater_lines_rejected_total") == 0
        assert server.stop() == 0
        server.start()
