"""Own `sh FILE` on a simulated host: a script is read from the host's files and run line by line by simulated programs.

Nothing of it runs on this machine. A line is one simple command; whatever else a shell knows (variables,
pipes, redirections, loops) is refused before the first line is run. A running script is kept in the
world: it goes on when the connection that began it is cut, and `sleep` takes the seconds that it says, also
while the lab is down.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable

from lib.lab.programs.host import Host, Output
from lib.lab.world import Document, World

PLAIN_WORD = re.compile(r"[A-Za-z0-9_./:,@%+=-]+")
SHELL_WORDS = re.compile(
    r"[.:{}!]|alias|case|cd|command|do|done|elif|else|esac|eval|exec|exit|export|fi|for|function|if|read|readonly"
    r"|return|sh|shift|then|trap|ulimit|umask|unset|until|wait|while"
)
SILENCE = re.compile(r"exec\s*>\s*/dev/null\s+2>&1")
KEPT_SECONDS = 60.0  # how long the end of a script can be asked for

Ran = Callable[[Host, Document, list[str], Output], None]


def start(host: Host, path: str) -> Output:
    """Begin a script; what it prints before its first pause is lost to nobody who waits for it."""
    try:
        text = host.files.read(host.path(path)).decode(errors="replace")
    except OSError:
        return Output(2, "", f"sh: 0: cannot open {path}: No such file\n")
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            words = _words(line)
        except ValueError as error:
            return Output(2, "", f"sh: {number}: {error}\n")
        lines += [words] if words else []
    key = str(max((int(each) for each in host.world.keys("process")), default=1000) + 1)
    began: Document = {"host": host.node, "path": path, "lines": lines, "at": 0, "due": 0.0, "stops": False}
    host.world.put("process", key, began | {"out": "", "err": "", "exit": 0, "ended": None, "silent": False})
    return Output(script=key)


def _words(line: str) -> list[str]:
    """Split a line; raise ValueError where it is more than a simple command."""
    if SILENCE.fullmatch(line.partition("#")[0].strip()):
        return ["exec"]
    words = shlex.split(line, comments=True)
    quoted = any(mark in line for mark in "'\"\\")
    plain = "$" not in line and "`" not in line if quoted else all(PLAIN_WORD.fullmatch(word) for word in words)
    if not plain or (words and (SHELL_WORDS.fullmatch(words[0]) or "=" in words[0])):
        raise ValueError(f"not simulated by the lab: {line.strip()}")
    return words


def settle(world: World, hosts: dict[str, Host], ran: Ran, now: float | None = None) -> float | None:
    """Run every script as far as it gets; return when the next line is due, None where no script waits."""
    moment = time.time() if now is None else now
    waiting = []
    for key, process in world.all("process").items():
        if process["ended"] is not None:
            if moment - process["ended"] > KEPT_SECONDS:
                world.delete("process", key)
            continue
        host = hosts[process["host"]]
        due: float | None = process["due"]
        while due is not None and due <= moment:
            due = _step(host, key, process, ran, moment)
        if due is not None:
            waiting.append(due)
    return min(waiting, default=None)


def ended(world: World, key: str) -> Output | None:
    """Return how a script ended, or None while it runs."""
    process = world.peek("process", key)
    if process is None:
        return Output(1)
    return None if process["ended"] is None else Output(process["exit"], process["out"], process["err"])


def kill(world: World, key: str) -> None:
    """End a script between two lines."""
    world.delete("process", key)


def _step(host: Host, key: str, process: Document, ran: Ran, now: float) -> float | None:
    """Run one line, and keep with what it changed that it was run: after a kill it is not run twice.

    Return when the next line is due, None where the script is at its end.
    """
    from lib.lab.programs.table import run

    with host.world.transaction():
        if process["at"] == len(process["lines"]):
            process["ended"] = now
            host.world.put("process", key, process)
            return None
        words = process["lines"][process["at"]]
        process["at"] += 1
        if words == ["exec"]:
            process["silent"] = True
        elif words == ["set", "-e"]:
            process["stops"] = True
        else:
            output = run(host, words, b"")
            _told(process, output)
            # From the time on that this line was due, not from now: a lab that was down makes up for it.
            process["due"] = (process["due"] or now) + output.pause + output.seconds * host.world.task_scale
            if output.exit and process["stops"]:
                process["ended"] = now
            ran(host, process, words, output)
        host.world.put("process", key, process)
    return None if process["ended"] else float(process["due"])


def _told(process: Document, output: Output) -> None:
    process["exit"] = output.exit
    if not process["silent"]:
        text = output.stdout if isinstance(output.stdout, str) else output.stdout.decode(errors="replace")
        process["out"] += text
        process["err"] += output.stderr
