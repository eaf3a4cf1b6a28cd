"""Own inputs of the DNS files for tests: a folder with both files, and sets of records from all over what is allowed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def inputs(folder: Path, own: Path | str, backend: str = "") -> Path:
    """Return the folder with the sample's cluster.toml and these records; `# backend: …` in them chooses it."""
    text = own if isinstance(own, str) else own.read_text()
    said = re.search(r"^# backend: (\w+)$", text, re.MULTILINE)
    backend = backend or (said[1] if said else "")
    shutil.copy(ROOT / "cluster.toml", folder)
    if backend:
        cluster = (ROOT / "cluster.toml").read_text().replace('backend = "dnsmasq"', f'backend = "{backend}"')
        (folder / "cluster.toml").write_text(cluster)
    (folder / "dns").mkdir(exist_ok=True)
    (folder / "dns" / "records.toml").write_text(text)
    return folder
