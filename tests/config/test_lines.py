"""The line finder: what people write in TOML, and what hypothesis writes."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.config.lines import line_of

TEXT = """\
# a comment with [brackets] and a\u2028separator
top.dotted."quoted key" = 1

[below.deeper]  # comes before its parent
x = 1
[below]
many = [  # spread
    "a",

    "b", "c",
    # not an item
    "d",
]
inline = { one = 1, two = [1, 2] }
text = \"\"\"
[not.a.header]
nor = "a key"
\"\"\"
after = true
[[list]]
name = "first"
[list.table]
k = 1
[[list]]
name = "second"
[[list.inner]]
k = 2
[[list.inner]]
k = 3
nested = [
  [1, 2],
  [
    3,
  ],
]
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top", "dotted", "quoted key"), 2),
        (("below", "deeper", "x"), 5),
        (("below",), 6),
        (("below", "not there"), 6),
        (("below", "many"), 7),
        (("below", "many", 0), 8),
        (("below", "many", 2), 10),
        (("below", "many", 3), 12),
        (("below", "inline", "two", 1), 14),
        (("below", "text"), 15),
        (("below", "after"), 19),
        (("list",), 20),
        (("list", 0, "table", "k"), 23),
        (("list", 1, "name"), 25),
        (("list", 1, "inner", 0, "k"), 27),
        (("list", 1, "inner", 1), 28),
        (("list", 1, "inner", 1, "nested", 0, 1), 31),
        (("nowhere", "at", 1), 1),
    ],
)
def test_where_things_stand(path: tuple[str | int, ...], line: int) -> None:
    tomllib.loads(TEXT)
    assert line_of(TEXT, path) == line


KEY = st.text("abcxyz", min_size=1, max_size=4)


VALUE = st.integers(0, 9) | st.lists(st.integers(0, 9), max_size=3)


@settings(deadline=None, max_examples=30)
@given(st.dictionaries(KEY, st.dictionaries(KEY, VALUE, max_size=4), min_size=1, max_size=4))
def test_a_key_stands_on_the_line_that_is_found(tables: dict[str, dict[str, Any]]) -> None:
    lines: list[str] = []
    expected = {}
    for table, keys in tables.items():
        lines += ["", "# about it", f"[{table}]"]
        for key, value in keys.items():
            expected[table, key] = len(lines) + 1
            # lists are spread over lines, as people write them
            lines += (
                [f"{key} = ["] + [f"  {item}," for item in value] + ["]"]
                if isinstance(value, list)
                else [f"{key} = {value}"]
            )
    text = "\n".join(lines)
    tomllib.loads(text)
    for path, number in expected.items():
        assert line_of(text, path) == number
