"""Own reading cluster.toml: strictly, and with every problem at once where there is any."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from lib.config.model import Cluster
from lib.config.rules import check
from lib.errors import ConfigurationError, Problem


def load_cluster(path: Path) -> Cluster:
    """Read and check the file.

    Raises:
        ConfigurationError: with every problem found, in the order of their lines.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError([Problem(path.name, f"cannot be read ({error})", "restore it from git")]) from None
    try:
        cluster = msgspec.toml.decode(text, type=Cluster)
    except msgspec.ValidationError:
        raise ConfigurationError(_every_problem(path, text)) from None
    except msgspec.DecodeError as error:
        raise ConfigurationError([_syntax(path, text, error)]) from None
    if next(check(cluster), None) is not None:
        raise ConfigurationError(_every_problem(path, text))
    return cluster


def _every_problem(path: Path, text: str) -> list[Problem]:
    import tomllib  # on the error path alone

    from lib.config.lines import line_of
    from lib.config.shape import concerned, examine

    broken, cluster = examine(tomllib.loads(text))
    found = broken + [one for one in check(cluster) if not concerned(one[0], broken)]
    placed = sorted((line_of(text, where), index) for index, (where, _, _) in enumerate(found))
    problems = []
    for line, index in placed:
        where, problem, fix = found[index]
        problems.append(Problem(_dotted(where), problem, fix, f"{path.name}:{line}"))
    return problems


def _syntax(path: Path, text: str, error: Exception) -> Problem:
    found = re.search(r"line (\d+)", str(error))
    line = int(found[1]) if found else len(text.splitlines())
    return Problem(path.name, f"is no valid TOML: {error}", "mend that line", f"{path.name}:{line}")


def _dotted(where: tuple[str | int, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".") or "cluster.toml"
