"""Own how simulated programs read their arguments: flags, options with a value, and the rest."""

from __future__ import annotations


class BadOptionError(Exception):
    """An option that the program does not know; the text is the option as given."""


def parse(argv: list[str], flags: str = "", values: str = "") -> tuple[dict[str, str], list[str]]:
    """Split arguments GNU-style.

    `flags` and `values` name what the program knows, separated by blanks, without dashes
    (`"q n no-act"`); single letters may be joined (`-qn`). A flag's value is "". Options may
    stand after operands; `--` ends them.

    Raises:
        BadOptionError: for anything else that begins with a dash.
    """
    known, valued = set(flags.split()), set(values.split())
    found: dict[str, str] = {}
    rest: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == "--":
            rest += words
            break
        if word.startswith("--"):
            name, given, value = word[2:].partition("=")
            if name in valued:
                if not given and not words:
                    raise BadOptionError(word)
                found[name] = value if given else words.pop(0)
            elif name in known and not given:
                found[name] = ""
            else:
                raise BadOptionError(word)
        elif word.startswith("-") and word != "-":
            _letters(word, known, valued, found, words)
        else:
            rest.append(word)
    return found, rest


def _letters(word: str, known: set[str], valued: set[str], found: dict[str, str], words: list[str]) -> None:
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter in valued:
            if not letters and not words:
                raise BadOptionError(word)
            found[letter] = letters or words.pop(0)
            return
        if letter not in known:
            raise BadOptionError(word)
        found[letter] = ""
