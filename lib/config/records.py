"""Own reading `dns/records.toml` beside cluster.toml, into every record there is: strictly, all problems at once."""

from __future__ import annotations

from pathlib import Path

from lib.config.cluster import load_cluster
from lib.config.model import Cluster
from lib.config.reading import Found, decode, problems, read
from lib.config.records_derived import OwnRecords, derived, name_server
from lib.config.records_model import Own, Record, place
from lib.config.records_rules import Complaint, check
from lib.errors import ConfigurationError, Problem

NAME = "dns/records.toml"
CLUSTER = "cluster.toml"


def load_records(root: Path) -> tuple[Cluster, tuple[Record, ...]]:
    """Return the cluster and its records, sorted: what follows from cluster.toml, and the user's own.

    Raises:
        ConfigurationError: with every problem of both files, in the order of their lines. What must
            hold between records is asked once cluster.toml is right.
    """
    try:
        cluster = load_cluster(root / CLUSTER)
    except ConfigurationError as error:
        raise ConfigurationError(error.problems + _keys_and_types(root)) from None
    return cluster, records_of(cluster, root)


def records_of(cluster: Cluster, root: Path) -> tuple[Record, ...]:
    """Return the records of a cluster that is read already, as `load_records` does.

    Raises:
        ConfigurationError: with every problem of both files, in the order of their lines.
    """
    text = read(root / NAME, NAME)
    own, broken = _decoded(text)
    whole = OwnRecords(cluster, own)
    placed = [*derived(cluster), *whole.placed]
    placed += name_server(cluster, placed)
    complaints = list(check(cluster, placed, complete=not (broken or whole.found)))
    if broken or whole.found or complaints:
        raise ConfigurationError(_every_problem(root, text, broken, whole.found, complaints))
    return tuple(sorted((one.record for one in placed), key=place))


def _decoded(text: str) -> tuple[Own, list[Found]]:
    """Return what the file says, and what is wrong with its keys and types."""
    own = decode(text, NAME, Own)
    if own is not None:
        return own, []
    import tomllib  # on the error path alone

    from lib.config.shape import examine

    broken, mended = examine(tomllib.loads(text), Own)
    return mended, broken


def _keys_and_types(root: Path) -> list[Problem]:
    try:
        text = read(root / NAME, NAME)
        return problems(text, NAME, _decoded(text)[1])
    except ConfigurationError as error:
        return error.problems


def _every_problem(
    root: Path, text: str, broken: list[Found], unsayable: list[Found], complaints: list[Complaint]
) -> list[Problem]:
    from lib.config.shape import concerned

    elsewhere = [(where, problem, fix) for own, where, problem, fix in complaints if not own]
    here = unsayable + [(where, problem, fix) for own, where, problem, fix in complaints if own]
    found = broken + [one for one in here if not concerned(one[0], broken)]
    return [*problems(read(root / CLUSTER, CLUSTER), CLUSTER, elsewhere), *problems(text, NAME, found)]
