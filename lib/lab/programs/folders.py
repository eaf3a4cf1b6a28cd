"""Own the programs that list and change the tree: ls, find, cp, mv, rm, mkdir, chmod, touch, ln, mktemp, truncate."""

from __future__ import annotations

import errno
import fnmatch
import posixpath
import secrets
import stat as modes
import string
import time

from lib.lab.files import TYPES
from lib.lab.programs.arguments import parse
from lib.lab.programs.host import Host, Output, strerror
from lib.lab.provenance import TOOL


def ls(host: Host, argv: list[str], stdin: bytes) -> Output:
    """List."""
    options, paths = parse(argv, "1 l a A d h t n")
    plain: list[str] = []
    folders: list[tuple[str, str]] = []
    errors = ""
    for path in paths or ["."]:
        where = host.cwd if path == "." else host.path(path)
        try:
            found = host.files.stat(where, follow="l" not in options)
        except OSError as error:
            errors += f"ls: cannot access '{path}': {strerror(error)}\n"
            continue
        if found["type"] == "dir" and "d" not in options:
            folders.append((path, where))
        else:
            plain.append(_row(host, where, path) if "l" in options else path)
    parts = ["".join(f"{line}\n" for line in plain)] if plain else []
    for path, where in folders:
        names = [n for n in host.files.listdir(where) if not n.startswith(".") or {"a", "A"} & set(options)]
        head = f"{path}:\n" if len(paths) > 1 else ""
        head += "total 0\n" if "l" in options else ""
        lines = (_row(host, posixpath.join(where, n), n) if "l" in options else n for n in names)
        parts.append(head + "".join(f"{line}\n" for line in lines))
    return Output(2 if errors else 0, "\n".join(parts), errors)


def _row(host: Host, path: str, name: str) -> str:
    found = host.files.stat(path, follow=False)
    when = time.strftime("%b %e %H:%M", time.gmtime(found["mtime"]))
    mode = modes.filemode(TYPES[found["type"]] | found["mode"])
    arrow = f" -> {found['target']}" if found["type"] == "link" else ""
    return f"{mode} 1 root root {found['size']} {when} {name}{arrow}"


def _into(host: Host, sources: list[str], target: str) -> list[tuple[str, str]]:
    """Pair each source with its destination, as cp and mv do for a directory."""
    where = host.path(target)
    if host.files.is_dir(where):
        return [(host.path(s), posixpath.join(where, posixpath.basename(s.rstrip("/")))) for s in sources]
    return [(host.path(s), where) for s in sources]


def cp(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Copy files."""
    options, words = parse(argv, "f p a r R n T archive preserve sparse no-clobber", "reflink sparse preserve")
    *sources, target = words
    size = 0
    for (old, new), name in zip(_into(host, sources, target), sources, strict=True):
        try:
            found = host.files.stat(old)
            if found["type"] == "dir" and not {"r", "R", "a", "archive"} & set(options):
                return Output(1, "", f"cp: -r not specified; omitting directory '{name}'\n")
            size += _copy(host, old, new)
        except OSError as error:
            if error.errno == errno.ENOENT and error.filename == old:
                return Output(1, "", f"cp: cannot stat '{name}': {strerror(error)}\n")
            if error.errno == errno.ENOSPC:
                return Output(1, "", f"cp: error writing '{new}': {strerror(error)}\n")
            return Output(1, "", f"cp: cannot create regular file '{target}': {strerror(error)}\n")
    return Output(seconds=size / 500e6)


def _copy(host: Host, old: str, new: str) -> int:
    if not host.files.is_dir(old):
        host.files.copy(old, new)
        return int(host.files.stat(new)["size"])
    host.files.mkdir(new, parents=True)
    return sum(_copy(host, posixpath.join(old, name), posixpath.join(new, name)) for name in host.files.listdir(old))


def mv(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Rename; copies where another filesystem is on the way."""
    options, words = parse(argv, "f n T no-target-directory v")
    *sources, target = words
    if len(sources) > 1 and not host.files.is_dir(host.path(target)):
        return Output(1, "", f"mv: target '{target}': No such file or directory\n")
    seconds = 0.0
    for (old, new), name in zip(_into(host, sources, target), sources, strict=True):
        if "n" in options and host.files.exists(new):
            continue
        try:
            host.files.rename(old, new)
        except OSError as error:
            if error.errno == errno.EXDEV:
                seconds += _copy(host, old, new) / 500e6
                host.files.remove_tree(old)
            elif not host.files.exists(old):
                return Output(1, "", f"mv: cannot stat '{name}': {strerror(error)}\n")
            else:
                return Output(1, "", f"mv: cannot move '{name}' to '{target}': {strerror(error)}\n")
    return Output(seconds=seconds)


def rm(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Remove files, with -r also directories."""
    options, paths = parse(argv, "f r R d v recursive force")
    deep = bool({"r", "R", "recursive"} & set(options))
    errors = ""
    for path in paths:
        try:
            (host.files.remove_tree if deep else host.files.remove)(host.path(path))
        except OSError as error:
            if error.errno == errno.ENOENT and ("f" in options or "force" in options):
                continue
            errors += f"rm: cannot remove '{path}': {strerror(error)}\n"
    return Output(1 if errors else 0, "", errors)


def mkdir(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Make directories."""
    options, paths = parse(argv, "p v parents", "m mode")
    mode = int(options.get("m", options.get("mode", "755")), 8)
    errors = ""
    for path in paths:
        try:
            host.files.mkdir(host.path(path), mode, parents="p" in options or "parents" in options)
        except OSError as error:
            errors += f"mkdir: cannot create directory '{path}': {strerror(error)}\n"
    return Output(1 if errors else 0, "", errors)


def rmdir(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Remove empty directories."""
    for path in argv:
        try:
            host.files.rmdir(host.path(path))
        except OSError as error:
            return Output(1, "", f"rmdir: failed to remove '{path}': {strerror(error)}\n")
    return Output()


def chmod(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Set modes, in octal."""
    _, (mode, *paths) = parse(argv, "R f")
    if not mode.isdigit():
        return Output(1, "", f"chmod: invalid mode: '{mode}'\nTry 'chmod --help' for more information.\n")
    for path in paths:
        try:
            host.files.change(host.path(path), mode=int(mode, 8))
        except OSError as error:
            return Output(1, "", f"chmod: cannot access '{path}': {strerror(error)}\n")
    return Output()


def chown(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Accept root, the one owner here."""
    _, (owner, *paths) = parse(argv, "R f")
    for path in paths:
        if not host.files.exists(host.path(path)):
            return Output(1, "", f"chown: cannot access '{path}': No such file or directory\n")
    known = owner.partition(":")[0] in ("root", "0", "")
    return Output() if known else Output(1, "", f"chown: invalid user: '{owner}'\n")


def touch(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Make empty files, or set the time of old ones."""
    _, paths = parse(argv, "c")
    for path in paths:
        where = host.path(path)
        try:
            if host.files.exists(where):
                host.files.change(where, mtime=time.time())
            else:
                host.files.write(where, b"")
        except OSError as error:
            return Output(1, "", f"touch: cannot touch '{path}': {strerror(error)}\n")
    return Output()


def ln(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Make symbolic links."""
    options, words = parse(argv, "s f n T")
    if "s" not in options or len(words) != 2:
        return Output(1, "", "ln: only symbolic links are simulated\n")
    target, path = words
    where = host.path(path)
    try:
        if "f" in options and host.files.exists(where):
            host.files.remove(where)
        host.files.symlink(target, where)
    except OSError as error:
        return Output(1, "", f"ln: failed to create symbolic link '{path}': {strerror(error)}\n")
    return Output()


def mktemp(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Make a file or directory with a new name."""
    options, words = parse(argv, "d q t", "p tmpdir suffix")
    template = words[0] if words else "tmp.XXXXXXXXXX"
    stem = template.rstrip("X")
    if len(template) - len(stem) < 3:
        return Output(1, "", f"mktemp: too few X's in template '{template}'\n")
    name = (
        stem + "".join(secrets.choice(string.ascii_letters) for _ in template[len(stem) :]) + options.get("suffix", "")
    )
    folder = options.get("p", options.get("tmpdir", "" if words else "/tmp"))
    path = posixpath.join(folder, name) if folder else host.path(name)
    kind = "directory" if "d" in options else "file"
    try:
        if "d" in options:
            host.files.mkdir(path, 0o700)
        else:
            host.files.write(path, b"", 0o600)
    except OSError as error:
        return Output(1, "", f"mktemp: failed to create {kind} via template '{template}': {strerror(error)}\n")
    return Output(0, f"{path if folder or template.startswith('/') else name}\n")


def truncate(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Empty a file, or make one of a size."""
    options, paths = parse(argv, "c", "s size")
    size = int(options.get("s", options.get("size", "0")))
    for path in paths:
        try:
            host.files.write(host.path(path), bytes(size))
        except OSError as error:
            return Output(1, "", f"truncate: cannot open '{path}' for writing: {strerror(error)}\n")
    return Output()


def find(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Print the paths below a folder, by -name, -type and -maxdepth."""
    start, words = argv[0], argv[1:]
    tests = dict(zip(words[::2], words[1::2], strict=False))
    unknown = [word for word in words[::2] if word not in ("-name", "-type", "-maxdepth", "-mindepth")]
    if unknown:
        return Output(1, "", f"find: unknown predicate `{unknown[0]}'\n")
    if not host.files.exists(host.path(start)):
        return Output(1, "", f"find: '{start}': No such file or directory\n")
    kinds = {"f": "file", "d": "dir", "l": "link", "b": "block"}
    out: list[str] = []

    def walk(path: str, depth: int) -> None:
        found = host.files.stat(host.path(path), follow=False)
        fits = fnmatch.fnmatchcase(posixpath.basename(path), tests.get("-name", "*"))
        right = "-type" not in tests or found["type"] == kinds.get(tests["-type"])
        if fits and right and depth >= int(tests.get("-mindepth", "0")):
            out.append(path)
        if found["type"] == "dir" and depth < int(tests.get("-maxdepth", "99")):
            for name in host.files.listdir(host.path(path)):
                walk(posixpath.join(path, name), depth + 1)

    walk(start, 0)
    return Output(0, "".join(f"{path}\n" for path in out))


PROGRAMS = {
    "ls": ls, "cp": cp, "mv": mv, "rm": rm, "mkdir": mkdir, "rmdir": rmdir, "chmod": chmod, "chown": chown,
    "touch": touch, "ln": ln, "mktemp": mktemp, "truncate": truncate, "find": find,
}  # fmt: skip
SOURCES = dict.fromkeys(PROGRAMS, TOOL)
