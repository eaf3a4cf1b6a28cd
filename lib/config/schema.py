"""Own the JSON schema of cluster.toml, for editors: made from the models, written by `python -m lib.config.schema`."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from lib.config.model import Cluster

PATH = Path("docs", "schemas", "cluster.schema.json")


def text() -> str:
    """Return the schema as it stands in the file; editors show the docstrings of the models beside the keys."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "cluster.toml"}
    return json.dumps(schema | msgspec.json.schema(Cluster), indent=2) + "\n"


if __name__ == "__main__":
    (Path(__file__).resolve().parent.parent.parent / PATH).write_text(text())
