"""Requests in every dialect with something wrong, from a seed: bodies, encodings, framing, headers and paths."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tests.fuzz.place import MIXED, NUMBERS

STRANGE: list[Any] = [
    None, True, False, 0, -1, 1.5, 2**63 - 1, 2**63, -(2**63) - 1, 10**400, 1e308, -1e308, 5e-324, "", "x", "1", "NaN",
    "\0", "é", "\U0001f600", "a" * 501, "a" * 9_000, [], [[]], {}, {"a": {}}, [None], [1, "x"], {"": ""},
]  # fmt: skip
TOKENS = [
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e999",
    b"-1e999",
    b"01",
    b"1.",
    b".5",
    b"+1",
    b"0x10",
    b"1_000",
    b"9" * 5000,
    b"1e-400",
    b"-0",
]
ENCODINGS = ["utf-16", "utf-16-le", "utf-32", "latin-1", "utf-8-sig", "cp037"]
HEADERS = [
    b"x-request-id: " + b"r" * 300, b"x-request-id: \x80\xff", b"traceparent: nonsense", b"content-type: text/csv",
    b"content-type: application/json; charset=utf-16", b"content-encoding: gzip", b"accept: \xff\xfe", b"x: " + b"y" * 9000,
    b"expect: 100-continue", b"upgrade: websocket\r\nconnection: upgrade", b"connection: close", b"x-afterfit-version: 9",
    b"content-type: application/json\r\ncontent-type: text/plain", b": empty", b"no colon", b"host: other", b"x: \x00",
]  # fmt: skip
METHODS = ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "get", "QUERY"]


@dataclass(frozen=True, slots=True)
class Case:
    """Bytes for one connection. `whole`: well-formed HTTP, so that exactly one reply must come, worded in the dialect."""

    dialect: str
    kind: str
    data: bytes
    whole: bool
    cut: bool = False  # the client hangs up without waiting for a reply


def _v1(dice: random.Random) -> tuple[str, Any]:
    name = _model(dice)
    body: dict[str, Any] = {"rows": [_row(dice, name) for _ in range(dice.choice([1, 1, 1, 2, 5]))]}
    if dice.random() < 0.3:
        body |= {"key": f"k{dice.randrange(9)}", "id": f"{dice.getrandbits(64):x}"}
    if dice.random() < 0.2:
        body["time"] = dice.choice([0, 1.5e9, "2026-01-05T10:00:00Z"])
    return f"/v1/models/{name}/predict", body


def _outcomes(dice: random.Random) -> tuple[str, Any]:
    items = [
        {"prediction_id": f"{dice.getrandbits(64):x}", "value": dice.randrange(2)} for _ in range(dice.choice([1, 3]))
    ]
    return f"/v1/models/{NUMBERS}/outcomes", {"outcomes": items}


def _v2(dice: random.Random) -> tuple[str, Any]:
    name = _model(dice)
    rows = [_row(dice, name) for _ in range(dice.choice([1, 1, 2, 5]))]
    kinds = {"a": "FP64", "b": "INT64", "c d": "FP32", "flag": "BOOL", "é": "BYTES"}
    inputs: list[dict[str, Any]] = [
        {"name": k, "shape": [len(rows)], "datatype": kinds[k], "data": [row[k] for row in rows]} for k in rows[0]
    ]
    if name == NUMBERS and dice.random() < 0.5:
        nested = [list(row.values()) for row in rows]
        data = nested if dice.random() < 0.5 else [value for row in nested for value in row]
        inputs = [{"name": "x", "shape": [len(rows), 2], "datatype": "FP64", "data": data}]
    body: dict[str, Any] = {"inputs": inputs}
    if dice.random() < 0.4:
        body |= {
            "id": f"{dice.getrandbits(64):x}",
            "parameters": {"key": "k", "time": 0},
            "outputs": [{"name": "predict"}],
        }
    return f"/v2/models/{name}{dice.choice(['', '/versions/1'])}/infer", body


def _mlflow(dice: random.Random) -> tuple[str, Any]:
    name = _model(dice)
    rows = [_row(dice, name) for _ in range(dice.choice([1, 1, 2, 5]))]
    values = [list(row.values()) for row in rows]
    shape = dice.choice(["dataframe_split", "dataframe_records", "inputs", "instances"])
    table: Any = {
        "dataframe_split": {"columns": list(rows[0]), "data": values},
        "dataframe_records": rows,
        "inputs": {k: [row[k] for row in rows] for k in rows[0]},
        "instances": values,
    }[shape]
    return f"/v1/models/{name}/invocations", {shape: table}


def _model(dice: random.Random) -> str:
    """Mostly the quick one."""
    return MIXED if dice.random() < 0.1 else NUMBERS


def _row(dice: random.Random, name: str) -> dict[str, Any]:
    row: dict[str, Any] = {"a": round(dice.gauss(0, 1), 6), "b": dice.randrange(5)}
    if name == MIXED:
        row |= {"c d": dice.choice([None, 0.5]), "flag": dice.random() < 0.5, "é": dice.choice(["red", "never seen"])}
    return row


DIALECTS: dict[str, Callable[[random.Random], tuple[str, Any]]] = {
    "v1": _v1, "outcomes": _outcomes, "v2": _v2, "mlflow": _mlflow,
}  # fmt: skip


def case(dice: random.Random) -> Case:
    """The next request."""
    dialect = dice.choice(list(DIALECTS))
    path, body = DIALECTS[dialect](dice)
    kind = dice.choice(list(_KINDS))
    return _KINDS[kind](dice, dialect, kind, path, body)


def _text(dice: random.Random, body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=dice.random() < 0.5).encode(errors="surrogatepass")


def _plain(path: str, content: bytes, *headers: bytes, method: str = "POST") -> bytes:
    lines = [f"{method} {quote(path)} HTTP/1.1".encode(), b"host: x", *headers, b"content-length: %d" % len(content)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + content


def _valid(dice: random.Random, dialect: str, kind: str, path: str, body: Any) -> Case:
    return Case(dialect, kind, _plain(path, _text(dice, body)), True)


def _swapped(dice: random.Random, dialect: str, kind: str, path: str, body: Any) -> Case:
    """One or two values, anywhere in the tree, are replaced, deleted, renamed or added."""
    for _ in range(dice.choice([1, 1, 2])):
        _change(dice, body)
    return Case(dialect, kind, _plain(path, _text(dice, body)), True)


def _change(dice: random.Random, tree: Any) -> None:
    while True:
        places = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        if not places:
            return
        at = dice.choice(places)
        if isinstance(tree[at], dict | list) and tree[at] and dice.random() < 0.8:
            tree = tree[at]
            continue
        what = dice.random()
        if what < 0.7:
            tree[at] = copy.deepcopy(dice.choice(STRANGE))
        elif what < 0.85:
            del tree[at]
        elif isinstance(tree, dict):
            tree[dice.choice(["", "rows", "a", "x" * 300, "é"])] = tree.pop(at)
        else:
            tree.append(copy.deepcopy(dice.choice(STRANGE)))
        return


def _bytes(dice: random.Random, dialect: str, kind: str, path: str, body: Any) -> Case:
    text = bytearray(_text(dice, body))
    for _ in range(dice.choice([1, 1, 2, 4])):
        text[dice.randrange(len(text))] = dice.randrange(256)
    return Case(dialect, kind, _plain(path, bytes(text)), True)


def _token(dice: random.Random, dialect: str, kind: str, path: str, body: Any) -> Case:
    """A number of the text becomes one that JSON does not have, or that nobody can hold."""
    text = _text(dice, body)
    numbers = [m.span() for m in re.finditer(rb"-?\d+(\.\d+)?", text)]
    start, end = dice.choice(numbers)
    return Case(dialect, kind, _plain(path, text[:start] + dice.choice(TOKENS) + text[end:]), True)


def _short(dice: random.Random, dialect: str, kind: str, path: str, body: Any) -> Case:
    text = _text(dice, body)
    return Case(dialect, kind, _plain(path, text[: dice.randrange(len(text))]), True)


def _twice(dice: random.Random, dialect: str, kind: str, path: str, body: Any) -> Case:
    """A key stands twice, with another value."""
    key = dice.choice(list(body))
    extra = b"{" + json.dumps(key).encode() + b": " + _text(dice, dice.choice(STRANGE)) + b", "
    return Case(dialect, kind, _plain(path, extra + _text(dice, body)[1:]), True)


def _deep(dice: random.Random, dialect: str, kind: str, path: str, body: Any) -> Case:
    depth = dice.choice([10, 500, 1100, 5000, 60_000])
    opening, closing = dice.choice([(b"[", b"]"), (b'{"a":', b"}")])
    nest = opening * depth + b"1" + closing * depth
    text = _text(dice, body)
    numbers = [m.span() for m in re.finditer(rb"-?\d+(\.\d+)?", text)]
    start, end = dice.choice(numbers)
    return Case(dialect, kind, _plain(path, text[:start] + nest + text[end:]), True)


def _encoding(dice: random.Random, dialect: str, kind: str, path: str, body: Any) -> Case:
    text = json.dumps(body, ensure_ascii=False).encode(dice.choice(ENCODINGS), errors="replace")
    return Case(dialect, kind, _plain(path, text), True)


def _headers(dice: random.Random, dialect: str, kind: str, path: str, body: Any) -> Case:
    return Case(dialect, kind, _plain(path, _text(dice, body), *dice.sample(HEADERS, dice.choice([1, 2, 4]))), False)


def _paths(dice: random.Random, dialect: str, kind: str, path: str, body: Any) -> Case:
    parts = path.split("/")
    parts[dice.randrange(1, len(parts))] = dice.choice(
        ["", "é", "..", "%00", "\U0001f600", "x" * 3000, "%", "a?b", "a#b", " ", "v2"]
    )
    if dice.random() < 0.3:
        parts.append(dice.choice(["", "x", "?q=1"]))
    data = _plain("/".join(parts), _text(dice, body))
    if dice.random() < 0.2:  # not even percent-encoded
        return Case(dialect, kind, data.replace(b"/", "/é\U0001f600\x80 ".encode(), 1), False)
    return Case(dialect, kind, data, True)


def _methods(dice: random.Random, dialect: str, kind: str, path: str, body: Any) -> Case:
    return Case(dialect, kind, _plain(path, _text(dice, body), method=dice.choice(METHODS)), False)


def _chunked(dice: random.Random, dialect: str, kind: str, path: str, body: Any) -> Case:
    """In chunks, well-formed."""
    text, parts = _text(dice, body), []
    while text:
        size = dice.randrange(1, len(text) + 1)
        parts.append(b"%x\r\n%b\r\n" % (size, text[:size]))
        text = text[size:]
    head = f"POST {quote(path)} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    return Case(dialect, kind, head + b"".join(parts) + b"0\r\n\r\n", True)


def _framing(dice: random.Random, dialect: str, kind: str, path: str, body: Any) -> Case:
    """Lengths that lie, chunks that are none, and a client that hangs up in the middle."""
    text, head = _text(dice, body), f"POST {quote(path)} HTTP/1.1\r\nhost: x\r\n".encode()
    n, chunked = len(text), b"transfer-encoding: chunked\r\n"
    data = dice.choice(
        [
            head + b"content-length: %d\r\n\r\n" % (n + dice.randrange(1, 999)) + text,
            head + b"content-length: %d\r\n\r\n" % dice.randrange(n) + text,
            head + b"content-length: -1\r\n\r\n" + text,
            head + b"content-length: 99999999999999999999999\r\n\r\n" + text,
            head + b"content-length: 9999999\r\n\r\n" + text,
            head + b"content-length: %d\r\ncontent-length: 1\r\n\r\n" % n + text,
            head + b"content-length: %d\r\n" % n + chunked + b"\r\n" + text,
            head + chunked + b"\r\nzz\r\n" + text,
            head + chunked + b"\r\nffffffffffffffffff\r\n" + text,
            head + chunked + b"\r\n%x\r\n" % n + text,
            head + b"\r\n" + text,
            head[: dice.randrange(1, len(head))],
            _plain(path, text)[: dice.randrange(1, n)],
            text,
        ]
    )
    return Case(dialect, kind, data, False, cut=True)


_KINDS: dict[str, Callable[[random.Random, str, str, str, Any], Case]] = {
    "valid": _valid, "values": _swapped, "bytes": _bytes, "numbers": _token, "truncated": _short, "twice": _twice,
    "deep": _deep, "encodings": _encoding, "headers": _headers, "paths": _paths, "methods": _methods, "chunked": _chunked,
    "framing": _framing,
}  # fmt: skip
