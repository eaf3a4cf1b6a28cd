"""Own the programs that look at single files: cat, stat, sha256sum, test, readlink, head, grep, cmp, df, tee.

What they print follows GNU coreutils in the C locale.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import stat as modes
import time

from lib.lab.files import TYPES
from lib.lab.programs.arguments import parse
from lib.lab.programs.host import Host, Output, strerror
from lib.lab.provenance import TOOL, belief
from lib.lab.world import Document

KINDS = {"file": "regular file", "dir": "directory", "link": "symbolic link", "block": "block special file"}


def cat(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Print files."""
    _, paths = parse(argv)
    out, errors = b"", ""
    for path in paths or ["-"]:
        try:
            out += stdin if path == "-" else host.files.read(host.path(path))
        except OSError as error:
            errors += f"cat: {path}: {strerror(error)}\n"
    return Output(1 if errors else 0, out, errors)


def sha256sum(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Print or check digests."""
    options, paths = parse(argv, "b t c check quiet status binary text strict")
    if "c" in options or "check" in options:
        return _check(host, paths, stdin, "status" in options, "quiet" in options)
    out, errors, size = "", "", 0
    for path in paths:
        try:
            found = host.files.stat(host.path(path))
            if found["type"] == "dir":
                raise IsADirectoryError(21, "Is a directory")
        except OSError as error:
            errors += f"sha256sum: {path}: {strerror(error)}\n"
            continue
        size += found["size"]
        mark, name = ("\\", path.replace("\\", "\\\\").replace("\n", "\\n")) if set(path) & {"\\", "\n"} else ("", path)
        out += f"{mark}{found['sha256']}  {name}\n"
    return Output(1 if errors else 0, out, errors, seconds=size / 400e6)


def _check(host: Host, paths: list[str], stdin: bytes, silent: bool, quiet: bool) -> Output:
    text, out, bad = "", "", 0
    for path in paths or ["-"]:
        text += (stdin if path == "-" else host.files.read(host.path(path))).decode(errors="replace")
    for digest, name in re.findall(r"^([0-9a-f]{64}) [ *](.+)$", text, re.MULTILINE):
        right = host.files.exists(host.path(name)) and host.files.stat(host.path(name))["sha256"] == digest
        bad += not right
        if not right or not quiet:
            out += f"{name}: {'OK' if right else 'FAILED'}\n"
    told = f"sha256sum: WARNING: {bad} computed checksum did NOT match\n" if bad else ""
    return Output(1 if bad else 0, "" if silent else out, "" if silent else told)


def _iso(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(moment)) + f".{int(moment % 1 * 1e9):09d} +0000"


def _fields(host: Host, path: str, found: Document, target: str) -> dict[str, str]:
    mode = TYPES[found["type"]] | int(found["mode"])
    kind = "regular empty file" if found["type"] == "file" and not found["size"] else KINDS[found["type"]]
    who = "root" if found["uid"] == 0 else str(found["uid"])
    return {
        "n": path, "N": f"'{path}'" + (f" -> '{target}'" if target else ""), "s": str(found["size"]),
        "a": f"{found['mode']:o}", "A": modes.filemode(mode), "F": kind, "f": f"{mode:x}",
        "U": who, "G": "root", "u": str(found["uid"]), "g": "0", "Y": str(int(found["mtime"])),
        "y": _iso(found["mtime"]), "X": str(int(found["mtime"])), "Z": str(int(found["mtime"])),
        "d": _device(host, path),
        "h": "1", "i": str(int(hashlib.sha256(path.encode()).hexdigest()[:7], 16)), "B": "512",
        "b": str(-(-int(found["size"]) // 512)), "o": "4096", "m": _mounted_at(host, path), "%": "%",
    }  # fmt: skip


def _device(host: Host, path: str) -> str:
    """Return a number of the filesystem that the path is on."""
    return str(int(hashlib.sha256(host.files.place(host.path(path))[0].encode()).hexdigest()[:4], 16))


def _mounted_at(host: Host, path: str) -> str:
    above = [t for t in host.files.mounts() if (path + "/").startswith(t.rstrip("/") + "/")]
    return max(above, key=len, default="/")


LONG = """  File: %n
  Size: %s\tBlocks: %b\tIO Block: %o   %F
Access: (%a/%A)  Uid: (    %u/    %U)   Gid: (    %g/    %G)
Modify: %y
"""


def stat(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Print a file's attributes in a format."""
    options, paths = parse(argv, "L dereference t", "c format printf")
    form = options.get("c", options.get("format"))
    form = (
        options.get("printf", "").replace("\\n", "\n")
        if form is None and "printf" in options
        else (form or LONG) + "\n"
    )
    out, errors = "", ""
    for path in paths:
        try:
            found = host.files.stat(host.path(path), "L" in options or "dereference" in options)
        except OSError as error:
            errors += f"stat: cannot statx '{path}': {strerror(error)}\n"
            continue
        fields = _fields(host, path, found, str(found.get("target", "")))
        out += re.sub(r"%-?\d*([a-zA-Z%])", lambda m: fields.get(m[1], "?"), form)  # noqa: B023
    return Output(1 if errors else 0, out, errors)


def test(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Test a path or compare two words."""
    words = list(argv)
    negate = bool(words) and words[0] == "!"
    words = words[1:] if negate else words
    if len(words) == 2 and words[0] in ("-e", "-f", "-d", "-s", "-b", "-L", "-h", "-r", "-w", "-x", "-n", "-z"):
        result = _unary(host, words[0][1], words[1])
    elif len(words) == 3 and words[1] in ("=", "!=", "-eq", "-ne", "-lt", "-gt", "-le", "-ge"):
        result = _binary(words)
    elif len(words) < 2:
        result = bool(words and words[0])
    else:
        return Output(2, "", "test: too many arguments\n")
    return Output(0 if result != negate else 1)


def _unary(host: Host, what: str, word: str) -> bool:
    if what in "nz":
        return bool(word) == (what == "n")
    try:
        found = host.files.stat(host.path(word), follow=what not in "Lh")
    except OSError:
        return False
    kinds = {"f": "file", "d": "dir", "b": "block", "L": "link", "h": "link"}
    if what in kinds:
        return bool(found["type"] == kinds[what])
    if what == "x":
        return bool(found["type"] == "dir" or found["mode"] & 0o111)
    return what != "s" or found["size"] > 0


def _binary(words: list[str]) -> bool:
    left, how, right = words
    if how in ("=", "!="):
        return (left == right) == (how == "=")
    a, b = int(left), int(right)
    return {"-eq": a == b, "-ne": a != b, "-lt": a < b, "-gt": a > b, "-le": a <= b, "-ge": a >= b}[how]


def readlink(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Print what a link points to."""
    options, paths = parse(argv, "f e m n")
    out = ""
    for path in paths:
        try:
            found = host.files.resolve(host.path(path)) if options else host.files.readlink(host.path(path))
            if "e" in options:
                host.files.stat(found)
        except OSError:
            return Output(1, out)
        out += f"{found}\n"
    return Output(0, out)


def realpath(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Print the path without links."""
    _, paths = parse(argv, "e m")
    return Output(0, "".join(f"{host.files.resolve(host.path(path))}\n" for path in paths))


def head(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Print the first lines."""
    options, paths = parse(argv, "", "n c")
    done = cat(host, paths, stdin)
    data = done.stdout if isinstance(done.stdout, bytes) else done.stdout.encode()
    if "c" in options:
        return Output(done.exit, data[: int(options["c"])], done.stderr.replace("cat: ", "head: "))
    lines = data.splitlines(keepends=True)[: int(options.get("n", "10"))]
    return Output(done.exit, b"".join(lines), done.stderr.replace("cat: ", "head: "))


def grep(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Print the lines that match; with several files, -H or -r, each with its file."""
    options, words = parse(argv, "q c F E i x s h v r R H a", "e")
    pattern = options["e"] if "e" in options else words.pop(0)
    flags = re.IGNORECASE if "i" in options else 0
    wanted = re.compile(re.escape(pattern) if "F" in options else pattern, flags)
    matches = wanted.fullmatch if "x" in options else wanted.search
    deep = bool({"r", "R"} & set(options))
    named = ("H" in options or deep or len(words) > 1) and "h" not in options
    out, errors, hits = "", "", 0
    for path in _below(host, words, "R" in options) if deep else words or ["-"]:
        done = cat(host, [path], stdin)
        errors += done.stderr.replace("cat: ", "grep: ")
        text = (done.stdout if isinstance(done.stdout, bytes) else done.stdout.encode()).decode(errors="replace")
        lines = [line for line in text.splitlines() if bool(matches(line)) != ("v" in options)]
        hits += len(lines)
        if "q" in options and hits:
            return Output(0, "", "" if "s" in options else errors)
        head = f"{path}:" if named else ""
        if not done.exit:
            out += f"{head}{len(lines)}\n" if "c" in options else "".join(f"{head}{line}\n" for line in lines)
    code = 2 if errors else 0 if hits else 1
    return Output(code, "" if "q" in options else out, "" if "s" in options else errors)


def _below(host: Host, paths: list[str], through_links: bool) -> list[str]:
    """Return the files at and below paths; what is not there is kept, so that it is complained of."""
    found: list[str] = []
    for path in paths:
        if not host.files.is_dir(host.path(path)):
            found.append(path)
            continue
        inner = [posixpath.join(path, name) for name in host.files.listdir(host.path(path))]
        if not through_links:
            inner = [each for each in inner if host.files.stat(host.path(each), follow=False)["type"] != "link"]
        found += _below(host, inner, through_links)
    return found


def cmp(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Compare two files by digest."""
    options, paths = parse(argv, "s q")
    digests = []
    for path in paths:
        try:
            digests.append(host.files.stat(host.path(path)).get("sha256"))
        except OSError as error:
            return Output(2, "", f"cmp: {path}: {strerror(error)}\n")
    same = digests[0] == digests[1]
    return Output(0 if same else 1, "" if same or options else f"{paths[0]} {paths[1]} differ: byte 1, line 1\n")


def tee(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Write standard input to files."""
    options, paths = parse(argv, "a")
    for path in paths:
        where = host.path(path)
        before = host.files.read(where) if "a" in options and host.files.exists(where) else b""
        try:
            host.files.write(where, before + stdin)
        except OSError as error:
            return Output(1, stdin, f"tee: {path}: {strerror(error)}\n")
    return Output(0, stdin)


COLUMNS = ("source", "fstype", "size", "used", "avail", "pcent", "target")
HEADS = {
    "source": "Filesystem",
    "fstype": "Type",
    "used": "Used",
    "avail": "Avail",
    "pcent": "Use%",
    "target": "Mounted on",
}


def df(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Print filesystems' sizes."""
    options, paths = parse(argv, "P h k T l", "B output block-size t")
    unit = {"1": 1, "K": 1024, "M": 1 << 20, "G": 1 << 30}[options.get("B", options.get("block-size", "K"))[0]]
    word = "output" in options
    asked = options["output"].split(",") if word and options["output"] else list(COLUMNS)
    columns = asked if word else [c for c in COLUMNS if c != "fstype" or "T" in options]
    label = {1: "1B-blocks", 1024: "1K-blocks"}.get(unit, f"1{'M' if unit == 1 << 20 else 'G'}-blocks")
    rows = [[label if c == "size" else HEADS[c] for c in columns]]
    mounts = {"/": {"source": "/dev/mapper/pve-root", "fstype": "ext4"}} | host.files.mounts()
    for path in paths or list(mounts):
        try:
            host.files.stat(host.path(path))
        except OSError as error:
            return Output(1, "", f"df: {path}: {strerror(error)}\n")
        target = _mounted_at(host, posixpath.normpath(host.path(path)))
        total, used = host.files.usage(host.path(path))
        row = {"source": mounts[target]["source"], "fstype": mounts[target]["fstype"], "target": target}
        row |= {"size": str(total // unit), "used": str(used // unit), "avail": str((total - used) // unit)}
        row["pcent"] = f"{-(-used * 100 // total)}%"
        rows.append([row[c] for c in columns])
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    left = {"source", "fstype", "target"}
    lines = (
        " ".join(cell.ljust(w) if c in left else cell.rjust(w) for cell, w, c in zip(row, widths, columns, strict=True))
        for row in rows
    )
    return Output(0, "".join(f"{line.rstrip()}\n" for line in lines))


PROGRAMS = {
    "cat": cat, "sha256sum": sha256sum, "stat": stat, "test": test, "readlink": readlink, "realpath": realpath,
    "head": head, "grep": grep, "cmp": cmp, "tee": tee, "df": df,
}  # fmt: skip
SOURCES = dict.fromkeys(PROGRAMS, TOOL) | {"df": belief("the columns that df prints")}
