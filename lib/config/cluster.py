"""Own reading cluster.toml: strictly, and with every problem at once where there is any."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from lib.config.model import Cluster
from lib.config.reading import decode, problems, read
from lib.config.rules import check
from lib.errors import ConfigurationError, Problem


def load_cluster(path: Path) -> Cluster:
    """Read and check the file.

    Raises:
        ConfigurationError: with every problem found, in the order of their lines.
    """
    text = read(path, path.name)
    cluster = decode(text, path.name, Cluster)
    if cluster is None or next(check(cluster), None) is not None:
        raise ConfigurationError(_every_problem(path, text))
    return cluster


def locate(path: Path, problem: Problem) -> Problem:
    """Return the problem with `cluster.toml:line` for the dotted key in its `where`, as in `proxmox.hosts.0.name`."""
    if not problem.where or ":" in problem.where:
        return problem
    from lib.config.lines import line_of  # on the error path alone

    key = [int(part) if part.isdigit() else part for part in problem.where.split(".")]
    return replace(problem, where=f"{path.name}:{line_of(path.read_text(encoding='utf-8'), key)}")


def _every_problem(path: Path, text: str) -> list[Problem]:
    import tomllib  # on the error path alone

    from lib.config.shape import concerned, examine

    broken, cluster = examine(tomllib.loads(text), Cluster)
    found = broken + [one for one in check(cluster) if not concerned(one[0], broken)]
    return problems(text, path.name, found)
