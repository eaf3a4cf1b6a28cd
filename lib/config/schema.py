"""Own the JSON schema of cluster.toml, for editors: the models' types, told in the words of the file's own comments.

`python -m lib.config.schema` writes docs/schemas/cluster.schema.json; the first line of cluster.toml names it.
What holds between keys is not in it: rules.py and addresses.py know that.
"""

from __future__ import annotations

import json
import re
import typing
from pathlib import Path
from typing import Any

import msgspec

from lib.config.lines import lines_of
from lib.config.model import Cluster

ROOT = Path(__file__).resolve().parent.parent.parent
PATH = Path("docs", "schemas", "cluster.schema.json")


def text() -> str:
    """Return the schema as it stands in the file; what a key means is taken from its comment in cluster.toml."""
    sample = (ROOT / "cluster.toml").read_text(encoding="utf-8")
    document = msgspec.json.schema(Cluster)
    lines = sample.split("\n")
    told: dict[tuple[str, str], str] = {}
    for path, line in lines_of(sample).items():
        comment = re.search(r"\s#\s+([^#]+)$", lines[line - 1])
        if comment:
            told.setdefault(_field(path), comment[1].strip())
    for name, definition in document["$defs"].items():
        for key, about in definition.get("properties", {}).items():
            if (name, key) in told and "$ref" not in about:
                about["description"] = told[name, key]
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "cluster.toml", **document}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _field(path: tuple[str | int, ...]) -> tuple[str, str]:
    """Return the model and the key that a path of the file leads to."""
    owner, key = "", ""
    wanted: Any = Cluster
    for part in path:
        if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
            owner, key = wanted.__name__, str(part)
            wanted = {field.encode_name: field.type for field in msgspec.structs.fields(wanted)}[key]
        else:
            # a table of tables is keyed by names, an array by numbers; either holds one type
            wanted = typing.get_args(wanted)[0 if isinstance(part, int) else 1]
    return owner, key


if __name__ == "__main__":
    (ROOT / PATH).write_text(text(), encoding="utf-8")
