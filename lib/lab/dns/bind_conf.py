"""Own how BIND reads named.conf, and what it complains of, as BIND 9.18 does.

What is in the zones' files is not here but in lib/lab/dns/bind_zone.py.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Iterator

import msgspec

from lib.lab.dns.answer import ConfigurationRefusedError
from lib.lab.dns.bind_options import OPTIONS, STATEMENTS, ZONE
from lib.lab.dns.texts import Texts

MAIN = "/etc/bind/named.conf"
PRIMARY = ("primary", "master")
ELSEWHERE = ("secondary", "slave", "mirror", "stub", "static-stub", "forward", "redirect", "delegation-only")
MATCH_LISTS = re.compile(r"allow-(?!new)|listen-on|also-notify|blackhole|match-")
TOKEN = re.compile(r'\s+|//[^\n]*|#[^\n]*|/\*.*?\*/|"(?:[^"\\\n]|\\.)*"|[{};]|[^\s{};"]+|"', re.DOTALL)


class Clause(msgspec.Struct):
    """A statement: its words, what is in its braces, and where it stands."""

    words: list[str]
    quoted: list[bool]
    at: str
    inner: list[Clause] | None = None

    @property
    def name(self) -> str:
        """What the statement is called."""
        return self.words[0]

    def value(self, name: str) -> str:
        """Return the first value of a clause inside, or an empty text."""
        return next((each.words[1] for each in self.inner or [] if each.name == name and len(each.words) > 1), "")


class ZoneClause(msgspec.Struct, frozen=True):
    """A zone that is served: its name in lower case, and the file."""

    name: str
    file: str


class Configuration(msgspec.Struct):
    """All statements, includes expanded, and what of them matters here."""

    clauses: list[Clause] = []
    zones: list[ZoneClause] = []
    recursion: bool = True
    folder: str = ""  # that relative file names are in


def load(texts: Texts, path: str = MAIN) -> Configuration:
    """Read a configuration with all that it includes.

    Raises:
        ConfigurationRefusedError: BIND would not take it.
    """
    try:
        text = texts.read(path)
    except OSError as error:
        raise ConfigurationRefusedError(f"open: {path}: {_words_of(error)}") from None
    found = Configuration(list(_Parser(text, path).statements()))
    found.clauses = _included(texts, found.clauses, 0)
    _check(found)
    return found


def _words_of(error: OSError) -> str:
    return {2: "file not found", 13: "permission denied", 21: "invalid file"}.get(error.errno or 0, "unexpected error")


def _included(texts: Texts, clauses: list[Clause], depth: int) -> list[Clause]:
    whole = []
    for clause in clauses:
        if clause.name != "include":
            whole.append(clause)
            continue
        path = clause.words[1] if len(clause.words) > 1 else ""
        try:
            if depth > 10:  # it includes itself
                raise OSError(40, "Too many levels", path)
            text = texts.read(path)
        except OSError as error:
            raise ConfigurationRefusedError(f"{clause.at}: parsing failed: {_words_of(error)}") from None
        whole += _included(texts, list(_Parser(text, path).statements()), depth + 1)
    return whole


class _Parser:
    """Splits one text into statements."""

    def __init__(self, text: str, path: str) -> None:
        self._path = path
        self._tokens: list[tuple[str, str]] = []
        line = 1
        for match in TOKEN.finditer(text):
            token = match[0]
            if token == '"':
                end = line + text.count("\n", match.start())
                raise ConfigurationRefusedError(f"{path}:{end}: unexpected end of input ")
            if not token[0].isspace() and not token.startswith(("//", "#", "/*")):
                self._tokens.append((token, f"{path}:{line}"))
            line += token.count("\n")
        self._end = f"{path}:{line}"

    def statements(self) -> Iterator[Clause]:
        """Yield the statements at the top."""
        while self._tokens:
            token, at = self._tokens[0]
            if token in "{};":
                raise ConfigurationRefusedError(f"{at}: syntax error near '{token}'")
            if token not in STATEMENTS:
                raise ConfigurationRefusedError(f"{at}: unknown option '{_bare(token)}'")
            yield self._clause()

    def _clause(self) -> Clause:
        token, at = self._tokens.pop(0)
        found = Clause([_bare(token)], [token.startswith('"')], at)
        while self._tokens:
            token, at = self._tokens.pop(0)
            if token == ";":
                return found
            if token == "}" or found.inner is not None:
                raise ConfigurationRefusedError(f"{at}: missing ';' before '{_bare(token)}'")
            if token == "{":
                found.inner = self._block(found)
            else:
                found.words.append(_bare(token))
                found.quoted.append(token.startswith('"'))
        raise ConfigurationRefusedError(f"{self._end}: unexpected end of input ")

    def _block(self, outer: Clause) -> list[Clause]:
        known = {"options": OPTIONS, "zone": ZONE}.get(outer.name)
        inner: list[Clause] = []
        while self._tokens:
            token, at = self._tokens[0]
            if token == "}":
                self._tokens.pop(0)
                return inner
            if token in "{;":
                raise ConfigurationRefusedError(f"{at}: '}}' expected near '{token}'")
            if known is not None and token not in known:
                raise ConfigurationRefusedError(f"{at}: unknown option '{_bare(token)}'")
            inner.append(self._clause())
        raise ConfigurationRefusedError(f"{self._end}: '}}' expected near end of file")


def _bare(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1]) if token.startswith('"') else token


# -------------------------------------------------------------------- check


def _check(found: Configuration) -> None:
    seen: dict[str, str] = {}
    options = [clause for clause in found.clauses if clause.name == "options"]
    for clause in options[1:]:
        raise ConfigurationRefusedError(f"{clause.at}: 'options' redefined near 'options'")
    for clause in options:
        found.folder = clause.value("directory")
        found.recursion = _boolean(clause, "recursion", default=True)
    for clause in found.clauses:
        if clause.name == "view":
            raise ConfigurationRefusedError(f"{clause.at}: view is not simulated by the lab")
        if clause.name == "zone":
            zone = _zone(clause, found.folder, seen)
            found.zones += [zone] if zone else []


def _boolean(clause: Clause, name: str, default: bool) -> bool:
    value = clause.value(name)
    if value not in ("", "yes", "no", "true", "false", "1", "0"):
        raise ConfigurationRefusedError(f"{clause.at}: boolean expected near '{value}'")
    return value in ("yes", "true", "1") if value else default


def _zone(clause: Clause, folder: str, seen: dict[str, str]) -> ZoneClause | None:
    """Check one zone; return it where it is served from a file."""
    written = clause.words[1] if len(clause.words) > 1 else ""
    name = written.rstrip(".").lower()
    if ".." in written or (not name and written != "."):
        raise ConfigurationRefusedError(f"{clause.at}: zone '{written}': is not a valid name")
    if name in seen:
        told = f"{clause.at}: zone '{written}': already exists previous definition: {seen[name]}"
        raise ConfigurationRefusedError(told)
    seen[name] = clause.at
    for one in clause.inner or []:
        if one.name == "file" and not (one.quoted[1:] or [False])[0]:
            raise ConfigurationRefusedError(f"{one.at}: expected quoted string near '{[*one.words, ';'][1]}'")
        if [each.name for each in clause.inner or []].count(one.name) > 1:
            raise ConfigurationRefusedError(f"{one.at}: '{one.name}' redefined near '{one.name}'")
    kind = clause.value("type")
    if not kind:
        raise ConfigurationRefusedError(f"{clause.at}: zone '{written}': type not present")
    if kind in ELSEWHERE:
        raise ConfigurationRefusedError(f"{clause.at}: zone '{written}': type {kind} is not simulated by the lab")
    if kind not in (*PRIMARY, "hint"):
        raise ConfigurationRefusedError(f"{clause.at}: '{kind}' unexpected")
    if not clause.value("file"):
        raise ConfigurationRefusedError(f"{clause.at}: zone '{written}': missing 'file' entry")
    path = posixpath.join(folder or "/", clause.value("file"))
    return ZoneClause(name, path) if kind in PRIMARY else None


# -------------------------------------------------------------------- print


def canonical(found: Configuration, hide_secrets: bool = False) -> str:
    """Return the configuration as named-checkconf -p prints it, in the order that it is written in."""
    return "".join(_printed(clause, 0, hide_secrets) for clause in found.clauses)


def _printed(clause: Clause, depth: int, hide: bool, element: bool = False) -> str:
    words = [f'"{word}"' if quoted else word for word, quoted in zip(clause.words, clause.quoted, strict=True)]
    if element and not clause.quoted[0] and not _is_network(clause.words[0]):
        words[0] = f'"{clause.words[0]}"'
    if hide and clause.name == "secret":
        words = ["secret", '"????????"']
    if clause.name == "zone":
        words = ["zone", f'"{clause.words[1]}"', *(word.upper() for word in clause.words[2:])]
    tabs = "\t" * depth
    if clause.inner is None:
        return f"{tabs}{' '.join(words)};\n"
    lists = bool(MATCH_LISTS.match(clause.name)) or clause.name == "acl"
    head = " ".join(words) + ("  {" if lists and len(words) == 1 else " {")
    inner = "".join(_printed(each, depth + 1, hide, lists) for each in clause.inner)
    return f"{tabs}{head}\n{inner}{tabs}}};\n"


def _is_network(word: str) -> bool:
    try:
        ipaddress.ip_network(word.lstrip("!"), strict=False)
    except ValueError:
        return False
    return True
