"""Own how qm, pveum, pvesm and pvesh read their command line, and what they say of a wrong one.

Read in PVE::CLIHandler (subcommands), PVE::JSONSchema (get_options) and PVE::RESTHandler (usage), and Getopt::Long.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from lib.lab.pve.params import FALSE, TRUE, Parameter

Each = TypeVar("Each")
Known = Mapping[str, Parameter]


class BadCommandError(Exception):
    """No subcommand that there is; the text says why."""


class BadArgumentsError(Exception):
    """Arguments that a subcommand does not take; the text is all that is said of them before its usage."""


def resolve(program: str, names: list[str], aliases: Mapping[str, str], argv: list[str]) -> tuple[str, list[str]]:
    """Return the subcommand that is meant, and its arguments; a name may be cut where one alone begins so.

    Raises:
        BadCommandError: where there is none.
    """
    if not argv:
        raise BadCommandError("no command specified")
    argv = [*aliases.get(argv[0], argv[0]).split(), *argv[1:]]
    said: list[str] = []
    for place, word in enumerate(argv):
        below = {name.split()[place] for name in names if name.split()[:place] == said and len(name.split()) > place}
        alike = [each for each in below if each.startswith(word)]
        said.append(word if word in below or len(alike) != 1 else alike[0])
        told = " ".join([program, *said])
        if said[-1] not in below:
            raise BadCommandError(f"{'incomplete' if alike else 'unknown'} command '{told}'")
        if " ".join(said) in names:
            return " ".join(said), argv[place + 1 :]
    raise BadCommandError(f"incomplete command '{' '.join([program, *said])}'")


def read(words: list[str], operands: list[str], known: Known, options: Known) -> dict[str, str]:
    """Return the parameters in arguments; those of a list are joined, flags are 1 or 0.

    Raises:
        BadArgumentsError: for an unknown option, one without its value, a wrong number of operands, a bad flag.
    """
    given, rest = _options(words, options)
    for operand in operands:
        if rest:
            given[operand] = rest.pop(0)
        elif operand not in known or not known[operand].optional:
            raise BadArgumentsError("400 not enough arguments\n")
    if rest:
        raise BadArgumentsError("400 too many arguments\n")
    for name, value in given.items():
        if name in options and options[name].kind == "boolean":
            if value.lower() not in (*TRUE, *FALSE, ""):
                raise BadArgumentsError("400 unable to parse boolean option\n")
            given[name] = "0" if value.lower() in FALSE else "1"
    return given


def _options(words: list[str], options: Known) -> tuple[dict[str, str], list[str]]:
    found: dict[str, str] = {}
    rest: list[str] = []
    wrong = ""
    words = list(words)
    while words:
        word = words.pop(0)
        if word == "--":
            rest += words
            break
        if not word.startswith("-") or word == "-":
            rest.append(word)
            continue
        text, sign, value = word.removeprefix("-").removeprefix("-").partition("=")
        name = _named(text, options)
        if isinstance(name, list):
            wrong += f"Option {text} is ambiguous ({', '.join(name)})\n" if name else f"Unknown option: {text}\n"
            continue
        is_flag = options[name].kind == "boolean"
        if not sign and is_flag:
            value = words.pop(0) if words and not words[0].startswith("-") else ""
        elif not sign and not words:
            wrong += f"Option {name} requires an argument\n"
            continue
        elif not sign:
            value = words.pop(0)
        many = options[name].type.endswith("-list") and name in found
        found[name] = f"{found[name]},{value}" if many else value
    if wrong:
        raise BadArgumentsError(f"{wrong}400 unable to parse option\n")
    return found, rest


def _named(text: str, options: Known) -> str | list[str]:
    """Return the option that is meant, which may be cut; else those that it might be."""
    if text in options:
        return text
    alike = sorted(name for name in options if text and name.startswith(text.lower()))
    return alike[0] if len(alike) == 1 else alike


def usage(told: str, operands: list[str], known: Known, options: Known, formats: bool) -> str:
    """Return the line that says how a subcommand is called."""
    words = []
    for name in [each for each in operands if each in known]:
        listed = known[name].type.endswith("-list")
        words.append(f"{{<{name}>}}" if listed else f"[<{name}>]" if known[name].optional else f"<{name}>")
    words += [f"--{name} <{options[name].kind}>" for name in sorted(options) if not options[name].optional]
    return f"{told} {' '.join(words)}{' [OPTIONS]' if options else ''}{' [FORMAT_OPTIONS]' if formats else ''}\n"


def without(known: Mapping[str, Each], *names: str) -> dict[str, Each]:
    """Return what is known but for some."""
    return {name: each for name, each in known.items() if name not in names}
