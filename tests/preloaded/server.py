"""Own a process that has loaded the libraries, and runs `python -m invoke` in a copy of itself for each line it reads.

A line is JSON: `cwd`, `env`, `words`, and the files `out` and `err`; answered by the exit code.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import sys

LIBRARIES = ("invoke", "fabric", "proxmoxer", "requests", "paramiko", "jinja2", "msgspec", "dns.message", "dotenv")


def _become(line: dict[str, object]) -> None:
    """Be what `python -m invoke` would be there, just begun."""
    os.chdir(str(line["cwd"]))
    os.environ.clear()
    os.environ.update(line["env"])  # type: ignore[call-overload]
    for number, name in ((0, os.devnull), (1, str(line["out"])), (2, str(line["err"]))):
        file = os.open(name, os.O_RDWR)
        os.dup2(file, number)
        os.close(file)
    sys.argv = ["invoke", *line["words"]]  # type: ignore[misc]
    sys.path[0] = str(line["cwd"])


def main() -> None:
    """Serve until the input ends."""
    for name in LIBRARIES:
        importlib.import_module(name)
    while text := sys.stdin.readline():
        child = os.fork()
        if not child:
            _become(json.loads(text))
            runpy.run_module("invoke", run_name="__main__", alter_sys=True)
            return
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


main()
