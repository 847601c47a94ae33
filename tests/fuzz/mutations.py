"""Valid files made invalid, each by its number: the same number is the same file.

`mutate` knows what a file is made of (rows and cells, a tree of keys, a table of typed columns, an
array) and spoils that, or the bytes themselves. Seeded instead of drawn by hypothesis, since a
hundred thousand files have to be made, tried and named within minutes.
"""

import gzip
import io
import json
import math
import pickle
import random
import zipfile
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

WORDS = [
    "", " ", "0", "-1", "0.5", "1e999", "-1e308", "1e-320", "nan", "inf", "NA", "true", "x",
    "=1+1", "-", "'", '"', ",", "../../etc/passwd", "/", ".", "C:\\x", "a" * 10_000, "\0", "a\0b",
    "\ufeff", "é", "日本", "\u202e", "\x1b[31m", "<b>&", "%s{}", "{0}", "a\nb", "\r", "1,5", "1_0",
    "0x10", "٣", "[1, 2]", "[]", "{}", "null", "[[[[[", "random", "imagenet", "l2", "alexnet",
    "steerable-pyramid", "relu1", "image", "lpips:alex:0", "\ud800",
]  # fmt: skip
NUMBERS = [
    0, 1, -1, 2, 255, 65_536, 2**31, 2**63, -(2**63) - 1, 2**64, 10**400, 0.5, -0.5, -0.0, 1e308,
    -1e308, 1e-320, 1e17, math.nan, math.inf, -math.inf,
]  # fmt: skip
#: The beginnings of files of other kinds: what a wrong suffix hides.
FOREIGN = [
    b"", b"\0" * 100, b"\n", b"<!DOCTYPE html><html><body>Please log in</body></html>\n",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 12345\n",
    b"\x89PNG\r\n\x1a\n" + bytes(30), b"\xff\xd8\xff\xe0" + bytes(30), b"PAR1" + bytes(8) + b"PAR1",
    b"\x1f\x8b\x08" + bytes(20), b"PK\x03\x04" + bytes(26), b"\x80\x04N.", b"{", b"[" * 5000,
    b"a = [" * 2000, gzip.compress(b"reference,distorted,quality\na,b,1\n"), b"%PDF-1.7\n",
    pickle.dumps({"a": np.zeros(3)}), b"SQLite format 3\0", b"\x93NUMPY\x01\x00\xff\xff",
    b"MATLAB 5.0 MAT-file" + bytes(200), b"\xef\xbb\xbf", "a,b\n1,2\n".encode("utf-16"),
]  # fmt: skip


def mutate(data: bytes, suffix: str, rng: random.Random) -> bytes:
    """The content of a file, spoiled in one to three ways."""
    ways = {
        ".csv": _rows, ".txt": _rows, ".json": _json, ".toml": _toml, ".parquet": _parquet,
        ".npy": _array,
    }  # fmt: skip
    way = ways.get(suffix.lower(), _bytes)
    for _ in range(rng.choice((1, 1, 2, 3))):
        chosen = way if rng.random() < 0.8 else _bytes
        data = chosen(data, rng)
    return data


def _bytes(data: bytes, rng: random.Random) -> bytes:
    at, size = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 4, 16, 200))
    kind = rng.randrange(11)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + data[at + size :]
    if kind == 2:
        return data[:at] + rng.randbytes(size) + data[at:]
    if kind in (3, 4, 5):
        return data[:at] + rng.randbytes(size) + data[at + size :]
    if kind == 6:
        return data[:at] + data[max(0, at - size) : at] * rng.choice((1, 2, 50)) + data[at:]
    if kind == 7:
        word = rng.choice((b"\xff" * 4, b"\x7f\xff\xff\xff", bytes(4), b"\0", b"\x80", b"\r"))
        return data[:at] + word + data[at + len(word) :]
    if kind == 8:
        return rng.choice(FOREIGN)
    if kind == 9:
        return rng.choice(FOREIGN) + data
    text = data.decode("utf-8", "replace")
    return text.encode(rng.choice(("utf-16", "utf-8-sig", "latin-1", "utf-32")), "replace")


def _rows(data: bytes, rng: random.Random) -> bytes:
    """A table of text: rows, columns, cells and the header."""
    text = data.decode("utf-8", "replace")
    lines = text.splitlines()
    if not lines:
        return _bytes(data, rng)
    mark = next((m for m in (",", ";", "\t") if m in lines[0]), " ")
    table = [line.split(mark) for line in lines]
    row, width = rng.choice(table), max(map(len, table))
    column = rng.randrange(width)
    kind = rng.randrange(12)
    if kind == 0:
        table.remove(row)
    elif kind == 1:
        table.insert(rng.randrange(len(table)), list(row))
    elif kind == 2:
        table = [[c for i, c in enumerate(r) if i != column] for r in table]
    elif kind == 3:
        table = [[*r, r[column] if column < len(r) else ""] for r in table]
    elif kind == 4:
        order = rng.sample(range(width), width)
        table = [[r[i] if i < len(r) else "" for i in order] for r in table]
    elif kind == 5:
        table[0] = [rng.choice((*WORDS, cell)) for cell in table[0]]
    elif kind == 6:
        row.extend(rng.choice(WORDS) for _ in range(rng.choice((1, 2, 30))))
    elif kind == 7:
        del table[0]
    elif kind == 8:
        for r in table[1:]:
            if column < len(r):
                r[column] = rng.choice((*WORDS, *map(_short, NUMBERS)))
    elif kind == 9:
        table = table[:1]
    elif row:
        row[rng.randrange(len(row))] = rng.choice((*WORDS, *map(_short, NUMBERS)))
    return "\n".join(mark.join(r) for r in table).encode("utf-8", "surrogatepass") + b"\n"


def _short(number: float) -> str:
    return str(number)[:30]


def _value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(8 if depth < 3 else 4)
    if kind < 2:
        return rng.choice(WORDS)
    if kind == 2:
        return rng.choice(NUMBERS)
    if kind == 3:
        return rng.choice((None, True, False))
    if kind < 6:
        return [_value(rng, depth + 1) for _ in range(rng.choice((0, 1, 2, 5)))]
    return {rng.choice(WORDS): _value(rng, depth + 1) for _ in range(rng.choice((0, 1, 2)))}


def _tree(tree: Any, rng: random.Random) -> Any:
    """One place of a tree of tables and lists changed; `tree` itself is."""
    places: list[tuple[Any, Any]] = []
    pending = [tree]
    while pending:
        node = pending.pop()
        inside = node.items() if isinstance(node, dict) else enumerate(node)
        for key, child in inside:
            places.append((node, key))
            if isinstance(child, dict | list):
                pending.append(child)
    if not places:
        return _value(rng)
    node, key = rng.choice(places)
    kind = rng.randrange(8)
    if kind == 0:
        del node[key]
    elif kind == 1 and isinstance(node, dict):
        node[rng.choice(WORDS)] = node.pop(key)
    elif kind == 2 and isinstance(node, dict):
        node[rng.choice(WORDS)] = _value(rng)
    elif kind == 3:
        node[key] = [node[key]] * rng.choice((1, 2, 100))
    elif kind == 4:
        node[key] = {"x": node[key]}
    elif kind == 5:
        other, place = rng.choice(places)
        node[key] = json.loads(json.dumps(other[place], default=str))  # no circle
    else:
        node[key] = _value(rng)
    return tree


def _json(data: bytes, rng: random.Random) -> bytes:
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return _bytes(data, rng)
    return json.dumps(_tree(tree, rng) if isinstance(tree, dict | list) else tree).encode()


def _toml(data: bytes, rng: random.Random) -> bytes:
    import tomllib

    try:
        tree = tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        return _bytes(data, rng)
    tree = _tree(tree, rng)
    rows = tree.items() if isinstance(tree, dict) else [("x", tree)]
    return "".join(f"{_quoted(k)} = {_as_toml(v)}\n" for k, v in rows).encode()


def _as_toml(value: Any) -> str:
    """Any tree as TOML, tables in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(k)} = {_as_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_as_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if value is None:
        return "1979-05-27T07:32:00Z"  # TOML has no null, but dates
    return _quoted(str(value))


def _quoted(text: str) -> str:
    return json.dumps(text.replace("\ud800", "")).replace("\x7f", "\\u007f")


def _column(rng: random.Random, n: int) -> Any:
    """A column of n rows of any type that Parquet has."""
    kind = rng.randrange(9)
    if kind == 0:
        return pd.Series([rng.choice(WORDS[:-1]) for _ in range(n)])
    if kind == 1:
        return pd.Series([rng.choice((-1.0, 0.0, 0.5, 1e308, math.nan, math.inf))] * n)
    if kind == 2:
        return pd.Series(pd.Timestamp(datetime(2020, 1, 1)), index=range(n))
    if kind == 3:
        return pd.Series([[1, 2]] * n)
    if kind == 4:
        return pd.Series([None] * n, dtype=object)
    if kind == 5:
        return pd.Series([b"\xff\x00"] * n)
    if kind == 6:
        return pd.Series([{"a": 1}] * n)
    if kind == 7:
        return pd.Series(["a", "b"] * n)[:n].astype("category")
    return pd.Series([rng.random() < 0.5 for _ in range(n)])


def _parquet(data: bytes, rng: random.Random) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(data))
        names = list(table.schema.names)
    except Exception:  # spoiled before
        return _bytes(data, rng)
    kind, at = rng.randrange(7), rng.randrange(len(names) or 1)
    if kind == 0 and names:
        table = table.remove_column(at)
    elif kind == 1 and names:
        table = table.append_column(rng.choice(names), table.column(at))  # the name twice
    elif kind == 2:
        table = table.slice(0, rng.choice((0, 1)))
    elif kind == 3 and names:
        names[at] = rng.choice(WORDS[:-1])
        table = table.rename_columns(names)
    elif kind == 4 and names:
        table = table.select(rng.sample(names, len(names)) if len(set(names)) == len(names) else [])
    elif names:
        column = pa.array(_column(rng, table.num_rows), from_pandas=True)
        table = table.set_column(at, names[at], column)
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def _array(data: bytes, rng: random.Random) -> bytes:
    arrays: list[Any] = [
        np.zeros(0), np.float64(0.5), np.full((2, 2), math.nan), np.array([math.inf]),
        np.array(["0.5"]), np.array([b"x"]), np.array([1 + 2j]), np.zeros((3, 0, 4), np.float32),
        np.array([("a", 1)], dtype=[("n", "U1"), ("v", "i4")]), np.zeros((3, 4, 4), ">f2"),
        np.array(["2020-01-01"], "M8[D]"), np.zeros((3, 2, 2), bool), np.full((3, 2, 2), -1.0),
        np.zeros((1,) * 32), np.array([{"a": 1}], dtype=object), np.zeros((4, 4, 3)),
    ]  # fmt: skip
    if rng.random() < 0.6:
        return _bytes(data, rng)
    out = io.BytesIO()
    if rng.random() < 0.2:
        np.savez(out, a=np.zeros(3))
    else:
        np.save(out, rng.choice(arrays), allow_pickle=True)
    return out.getvalue()


def archive_names(rng: random.Random) -> list[str]:
    """Names of members that an archive should not have, among harmless ones."""
    pieces = ["..", ".", "a", "b", "", "C:", "\0", "a" * 300, "é", "\udcff", "aux", " ", "\n"]
    return [
        rng.choice(("", "/", "\\", "./")) + "/".join(rng.choices(pieces, k=rng.randrange(1, 5)))
        for _ in range(rng.randrange(1, 6))
    ]


def zipped(names: list[str]) -> bytes:
    """A zip whose members have these names."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name in names:
            info = zipfile.ZipInfo()
            info.filename = name.encode("utf-8", "replace").decode()
            packed.writestr(info, b"x")
    return out.getvalue()
