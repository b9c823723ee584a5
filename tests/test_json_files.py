from __future__ import annotations

import time
from pathlib import Path

import pytest

from edgemate.json_files import parse_json, read_json
from edgemate.limits import JSON_BYTES, JSON_DEPTH


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1" + "0" * 400, "the integer 10000000000000000000… is out of range"),
        ("9" * 10_000, "is out of range"),
        ("-9223372036854775808", "is out of range"),
        ("1e999", "is out of range"),
        ("[NaN]", "NaN is not a JSON number"),
        ("-Infinity", "is not a JSON number"),
        ("[" * 100_000, "more than 100 levels"),
        ("[" * 101 + "]" * 101, "more than 100 levels"),
        ('{"a":' * 101 + "1" + "}" * 101, "more than 100 levels"),
        ("{", "Expecting"),
        (b"\xff\xfe", "decode"),
        (b'"\xed\xa0\x80"', "decode"),
        ("[1]".encode("utf-16"), "decode"),
        (r'["a\ud800"]', "is not valid text"),
        (rb'{"a": [{"\udfff": 1}]}', "is not valid text"),
    ],
)
def test_what_is_beyond_the_limits_is_refused_in_one_line(text: str | bytes, message: str) -> None:
    started = time.process_time()
    with pytest.raises(ValueError, match=message) as caught:
        parse_json(text)
    assert "\n" not in str(caught.value)
    assert time.process_time() - started < 1


def test_everything_else_is_read() -> None:
    text = "[" * JSON_DEPTH.most + "]" * JSON_DEPTH.most
    assert parse_json(text) is not None
    assert parse_json(r'["\ud83d\ude00", "\u00e9"]') == ["😀", "é"]
    assert parse_json('{"a": [9223372036854775807, -1, 1.5e300, "é", null, true]}') == {
        "a": [2**63 - 1, -1, 1.5e300, "é", None, True]
    }


def test_no_more_than_the_limit_is_read_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with path.open("wb") as target:
        target.truncate(40 << 30)  # which takes no place on the disk
    with pytest.raises(ValueError, match=f"has more than {JSON_BYTES.most:,} bytes"):
        read_json(path)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json")
