"""Sends rows with QuestDB's client: CONFIGURATION TABLE ROWS ARRAYS(0 or 1). Runs in the client's own environment."""
import sys

import numpy
from questdb.ingress import Sender, TimestampMicros, TimestampNanos

conf, table, rows, arrays = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "1"
with Sender.from_conf(conf) as sender:
    for n in range(rows):
        columns = {"price": n / 7.0, "size": n - 250, "live": n % 2 == 0, "text": 'a "quoted", line\\',
                   "seen": TimestampMicros(1_700_000_000_000_000 + n)}
        if arrays:
            columns |= {"levels": numpy.full(10, n / 3.0), "none": numpy.array([], dtype=numpy.float64)}
        sender.row(table, symbols={"sym": f"s {n % 7}"}, columns=columns,
                   at=TimestampNanos(1_700_000_000_000_000_000 + n))
    sender.flush()
