"""Statements through /exec: what a table shows after it was changed, from tails, from Parquet, and after a kill."""


def statements_change_what_queries_see(env):
    server = env.server()
    tables_come_from_statements_and_lines(server)
    columns_change_under_parts_and_tails(server)
    duplicates_are_resolved_for_every_reader(server)
    rows_go_by_range(server)
    before = everything(server)
    server.kill()
    server.start()
    assert everything(server) == before, "after a kill"
    server.sql("FLUSH")
    assert everything(server) == before, "from Parquet"
    assert server.stop() == 0
    server.start()
    assert everything(server) == before, "after a stop"
    assert server.stop() == 0


def everything(server):
    """All that queries say of the tables, in ways that take different roads through the engine."""
    questions = [
        "SELECT * FROM trades ORDER BY ts, symbol",
        "SELECT symbol, count(*), sum(price) FROM trades GROUP BY symbol ORDER BY symbol",
        "SELECT count(*) FROM trades WHERE ts >= '1970-01-02T00:00:00'",
        "SELECT * FROM shape ORDER BY time",
        "SELECT n, label FROM shape WHERE n > 2 ORDER BY n",
        "SELECT count(*), count(label), max(n) FROM shape",
        "SELECT * FROM system_load ORDER BY time, host",
        "SELECT count(*) FROM system_load",
        "SELECT host FROM system_load WHERE load1 = 0.5 AND uptime = 77",
        "SELECT * FROM ranged ORDER BY time",
        "SELECT \"column\", type FROM table_columns('shape')",
    ]
    return {question: server.sql(question) for question in questions}


def tables_come_from_statements_and_lines(server):
    server.sql("CREATE TABLE trades (ts TIMESTAMP, symbol SYMBOL, price DOUBLE, size LONG) "
               "TIMESTAMP(ts) PARTITION BY DAY WAL DEDUP UPSERT KEYS(ts, symbol)")
    server.sql("CREATE TABLE IF NOT EXISTS trades (ts TIMESTAMP) TIMESTAMP(ts) PARTITION BY DAY WAL")
    day = 86_400_000_000_000
    server.send(f"trades,symbol=A price=1.5,size=10i 1\ntrades,symbol=B price=2.5,size=20i 1\ntrades,symbol=A price=3.5 {day}\n")
    server.sql("FLUSH")
    # The whole row of the later transaction wins, in a tail over a part; a key of another time is another row.
    server.send(f"trades,symbol=A price=9.5 1\ntrades,symbol=A price=4.5,size=7i {day}\n")
    server.sql(f"INSERT INTO trades (ts, symbol, price) VALUES ({day + 1}, 'C', 8.5)")
    server.sql("ALTER TABLE trades APPLY WAL")
    rows = server.sql("SELECT symbol, price, size FROM trades ORDER BY ts, symbol")
    assert rows == [["A", 9.5, None], ["B", 2.5, 20], ["A", 4.5, 7], ["C", 8.5, None]], rows


def columns_change_under_parts_and_tails(server):
    server.send("shape,host=a n=1i,old=1.5,text=\"x\" 1\nshape,host=a n=2i,old=2.5,text=\"12\" 2\n")
    server.sql("FLUSH TABLE shape")
    server.sql("ALTER TABLE shape RENAME COLUMN text TO label")
    server.sql("ALTER TABLE shape DROP COLUMN old")
    server.sql("ALTER TABLE shape ADD COLUMN extra LONG")
    server.sql("ALTER TABLE shape ALTER COLUMN n TYPE DOUBLE")
    # A column of the old name is a new one; nothing of the dropped one comes back.
    server.send("shape,host=b n=3.5,old=7i,label=\"y\",extra=9i 3\n")
    server.sql("ALTER TABLE shape APPLY WAL")
    rows = server.sql("SELECT host, n, old, label, extra FROM shape ORDER BY time")
    assert rows == [["a", 1.0, None, "x", None], ["a", 2.0, None, "12", None], ["b", 3.5, 7, "y", 9]], rows
    server.sql("RENAME TABLE shape TO form")
    server.sql("RENAME TABLE form TO shape")
    server.sql("FLUSH TABLE shape")
    assert rows == server.sql("SELECT host, n, old, label, extra FROM shape ORDER BY time")


def duplicates_are_resolved_for_every_reader(server):
    server.sql("CREATE TABLE system_load (time TIMESTAMP, host SYMBOL, load1 DOUBLE, uptime LONG, note VARCHAR) "
               "TIMESTAMP(time) PARTITION BY DAY WAL DEDUP MERGE")
    server.send("system_load,host=h load1=0.5 5\nsystem_load,host=i load1=0.25 5\n")
    server.sql("FLUSH")
    server.send("system_load,host=h uptime=76i 5\nsystem_load,host=h uptime=77i 5\n")
    server.sql("FLUSH")
    server.send("system_load,host=h note=\"up 2 days\" 5\n")
    server.sql("ALTER TABLE system_load APPLY WAL")
    rows = server.sql("SELECT host, load1, uptime, note FROM system_load ORDER BY host")
    assert rows == [["h", 0.5, 77, "up 2 days"], ["i", 0.25, None, None]], rows


def rows_go_by_range(server):
    server.send("".join(f"ranged v={n}i {n}\n" for n in range(10)))
    server.sql("FLUSH TABLE ranged")
    server.send("".join(f"ranged v={n}i {n}\n" for n in range(10, 20)))
    server.sql("REPLACE RANGE FROM 5 TO 15 IN ranged (time, v) VALUES (7, 70), (14, 140)")
    server.sql("REPLACE RANGE FROM 0 TO 2 IN ranged")
    server.sql("ALTER TABLE ranged APPLY WAL")
    rows = [v for v, in server.sql("SELECT v FROM ranged ORDER BY time")]
    assert rows == [2, 3, 4, 70, 140, 15, 16, 17, 18, 19], rows
    server.send("emptied v=1i 1\n")
    server.sql("TRUNCATE TABLE emptied")
    server.sql("ALTER TABLE emptied APPLY WAL")
    assert server.one("SELECT count(*) FROM emptied", default=-1) == 0
