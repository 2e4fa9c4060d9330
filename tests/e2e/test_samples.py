"""The documented lines of real Telegraf inputs go in over TCP and come out value by value."""
import re

from harness import ROOT

ESCAPES = re.compile(r"\\([,= \\])")


def parse(line):
    """A reader of the lines of samples.lp, written apart from the server's: (table, tags, fields, time or None)."""
    parts, depth, current, i = [], False, "", 0
    while i < len(line):
        c = line[i]
        if c == "\\" and i + 1 < len(line):
            current += line[i:i + 2]
            i += 2
            continue
        if c == '"' and parts:
            depth = not depth
        if c == " " and not depth:
            parts.append(current)
            current = ""
        else:
            current += c
        i += 1
    parts.append(current)
    parts = [p for p in parts if p]
    head = split(parts[0], ",")
    tags = dict(tuple(unescape(x) for x in split(t, "=")) for t in head[1:])
    fields = {}
    for field in split(parts[1], ","):
        key, value = split(field, "=", 1)
        fields[unescape(key)] = typed(value)
    return unescape(head[0]), tags, fields, int(parts[2]) if len(parts) > 2 else None


def split(text, separator, most=0):
    out, current, quoted, i = [], "", False, 0
    while i < len(text):
        c = text[i]
        if c == "\\" and i + 1 < len(text):
            current += text[i:i + 2]
            i += 2
            continue
        if c == '"' and (quoted or current.endswith("=") or not current):
            quoted = not quoted
        if c == separator and not quoted and not (most and len(out) == most):
            out.append(current)
            current = ""
        else:
            current += c
        i += 1
    return out + [current]


def unescape(name):
    return ESCAPES.sub(r"\1", name)


def typed(value):
    if value[0] == '"':
        return re.sub(r'\\(["\\])', r"\1", value[1:-1])
    if value in ("t", "T", "true", "True", "TRUE"):
        return True
    if value in ("f", "F", "false", "False", "FALSE"):
        return False
    if value[-1] in "iu":
        return int(value[:-1])
    return float(value)


def samples_come_out_value_by_value(env):
    server = env.server()
    text = (ROOT / "tests/data/samples.lp").read_text()
    lines = [l for l in text.splitlines() if l.strip() and not l.startswith("#")]
    expected = {}
    refused = 0
    first_type = {}
    for line in lines:
        try:
            table, tags, fields, time = parse(line)
        except ValueError:
            refused += 1  # One documented line shows its fields in three groups: text stands where the timestamp belongs.
            continue
        if table == "write_reports":
            refused += 1
            continue
        types = {**{k: "tag" for k in tags}, **{k: type(v) for k, v in fields.items()}}
        def fits(column, t):
            return first_type.get((table, column), t) == t or (first_type[table, column], t) == (float, int)
        if not all(fits(k, t) for k, t in types.items()):
            refused += 1  # The first claim of a column holds, and only an integer becomes a float.
            continue
        first_type = {(table, k): t for k, t in types.items()} | first_type
        expected.setdefault(table, []).append((tags | fields, time))
    assert refused < len(lines) // 10, f"{refused} of {len(lines)} samples are no rows"
    server.send(text if text.endswith("\n") else text + "\n")
    assert server.metric("headwater_lines_rejected_total") == refused
    for again in ("in tails", "after a restart"):
        for table, rows in expected.items():
            server.wait_count(table, len(rows))
            stored = server.rows(f'SELECT *, CAST("time" AS BIGINT) AS hw_ns FROM "{table}"')
            check(table, rows, stored, again)
        assert server.stop() == 0
        server.start()


def check(table, rows, stored, when):
    left = list(stored)
    for values, time in rows:
        def same(row):
            have = {k: v for k, v in row.items() if k not in ("time", "hw_ns") and v is not None}
            return have == values and (time is None or row["hw_ns"] == time)
        match = next((r for r in left if same(r)), None)
        assert match is not None, f"{table} {when}: no row equals {values} at {time}; left: {left[:3]}"
        left.remove(match)
    assert not left, f"{table} {when}: rows nobody sent: {left[:3]}"
