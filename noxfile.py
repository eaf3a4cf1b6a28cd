"""Own the entry points: `nox -s test`, `lint`, `types`, `real`, `judges`, `chaos`, `bench`, `docs`, `e2e`, `lock`.

Each session is a plain virtual environment filled from a hash-pinned file of
requirements/. What a session runs is configured in pyproject.toml.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["test", "lint", "types"]

PERVERSE = ("1", "2", "3")  # seeds
WORKERS = max(5, os.cpu_count() or 1)  # a rehearsal often waits: two cores have time for five
REQUIREMENTS = Path(__file__).parent / "requirements"
LOCKED = {
    "run": None,
    "test": "run",
    "check": "test",
    "lock": None,
    "bench": None,
}  # file: the one whose pins it has to keep


@nox.session
def test(session: nox.Session) -> None:
    """Run the tests, on two cores in five processes, but for those of `real` and `judges`; `-- …` goes to pytest."""
    install(session, "test")
    others = ("--ignore", "tests/real", "--ignore", "tests/judges")
    once = {"PYTHONDONTWRITEBYTECODE": None}  # else each process would compile the plugins' code anew
    session.run("pytest", "-n", str(WORKERS), "--dist", "worksteal", *others, *session.posargs, env=once)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting and who imports whom."""
    install(session, "check")
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of product and tests, strictly."""
    install(session, "check")
    session.run("mypy", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the speeds that are promised, fail where one is not kept; then set the peers beside ours."""
    install(session, "test")
    session.run("python", "-m", "tests.bench", *session.posargs)
    peers = Path(session.virtualenv.location) / "peers"  # apart: they want other releases of what we use
    session.run("python", "-m", "venv", str(peers))
    pip = (str(peers / "bin" / "python"), "-m", "pip", "install", "--quiet")
    session.run(*pip, "--require-hashes", "-r", "requirements/bench.txt", external=True)
    session.run("python", "-m", "tests.bench.peers", env={"GROUNDWORK_PEERS": str(peers / "bin")})


@nox.session
def docs(session: nox.Session) -> None:
    """Write the schema of cluster.toml and the table of faults; check the pages: links, commands, flags, schemas."""
    install(session, "test")
    session.run("python", "-m", "lib.config.schema")
    session.run("python", "-m", "tests.rehearsal.matrix")
    session.run("pytest", "tests/docs", *session.posargs)


@nox.session
def e2e(session: nox.Session) -> None:
    """Rehearse whole phases through the command line."""
    install(session, "test")
    session.run("pytest", "-n", "auto", "tests/rehearsal", *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """Kill the product at every line of the lab's journal, the lab at some; rehearse all in perverse labs.

    `-- --every 5` kills at fewer lines, `-- --perverse 3` in perverse labs.
    """
    install(session, "test")
    session.run("python", "-m", "tests.chaos", *session.posargs)
    for seed in PERVERSE:
        session.run("pytest", "-n", "auto", "--dist", "worksteal", "tests/rehearsal", "--perverse", seed)


@nox.session
def real(session: nox.Session) -> None:
    """Run what needs real programs beside ours: BIND, dnsmasq, sshd; what is missing is skipped by name."""
    install(session, "test")
    session.run("pytest", "-n", str(WORKERS), "--dist", "worksteal", "tests/real", *session.posargs)


@nox.session
def judges(session: nox.Session) -> None:
    """Let third parties judge the lab: OpenSSH, curl, proxmoxer, OpenTofu with its real provider (.ci/tools/build)."""
    install(session, "test")
    session.run("pytest", "-n", "auto", "--dist", "loadfile", "tests/judges", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Pin the requirements anew, with hashes; `nox -s lock -- --upgrade` takes newer releases."""
    install(session, "lock")
    for name, base in LOCKED.items():
        pinned = REQUIREMENTS / f"{name}.txt"
        session.run(
            *("uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"),
            *("--no-emit-index-url", "--no-emit-find-links", "--no-header", *session.posargs),
            *(("--constraint", f"requirements/{base}.txt") if base else ()),
            *("--output-file", str(pinned), f"requirements/{name}.in"),
        )
        pinned.write_text(f"# Written by `nox -s lock`.\n# inputs: {digest_of_inputs()}\n{pinned.read_text()}")


def install(session: nox.Session, name: str) -> None:
    """Fill the session's environment from a pinned file, hashes checked."""
    session.install("--quiet", "--require-hashes", "-r", f"requirements/{name}.txt")


def digest_of_inputs() -> str:
    """Return the digest of every `requirements/*.in`; the pinned files carry it, so staleness is seen offline."""
    digest = hashlib.sha256()
    for source in sorted(REQUIREMENTS.glob("*.in")):
        digest.update(f"{source.name}\n{source.read_text()}\n".encode())
    return f"sha256:{digest.hexdigest()}"
