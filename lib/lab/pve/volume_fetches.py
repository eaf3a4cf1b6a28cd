"""Own how a file gets onto a storage (API: …/storage/{storage}/download-url, upload): fetched by the node, or sent."""

from __future__ import annotations

import posixpath
import re
import time
from urllib.parse import urlsplit

from lib.lab.files import Files
from lib.lab.internet import NO_CONNECTION, fetch
from lib.lab.provenance import RECORDED, SCHEMA
from lib.lab.pve import nodes, storage_state, volume_names
from lib.lab.pve.answers import failure, invalid
from lib.lab.pve.call import Call, Route, both, perm
from lib.lab.pve.tasks import TaskFailed
from lib.lab.world import Document, World

DOWNLOAD_RATE = 50 << 20  # bytes a second
_FILE_ERROR, _NETWORK_FAILURE, _SERVER_ERROR = 3, 4, 8  # how wget ends (its manual, EXIT STATUS)


def _section(call: Call, also: str) -> Document:
    """Return the section of a storage of files. Raises Refusal."""
    section = storage_state.need_on(call.world, call["storage"], call.node)
    if "path" not in section:
        raise failure(f"can't upload to storage type '{section['type']}'{also}")
    return section


def _name(call: Call) -> str:
    """Return the name that the file is to have: the last part of the wanted one, of harmless characters."""
    content, name = call["content"], re.sub(r"[^a-zA-Z0-9_.-]", "_", re.sub(r"^.*[/\\]", "", call["filename"]))
    if not volume_names.fits(content, name) or (content == "import" and name.endswith(".ovf")):
        raise invalid(filename="invalid filename or wrong extension" if content == "import" else "wrong file extension")
    return name


def _target(call: Call, section: Document, name: str) -> str:
    storage_state.need_active(call.world, call["storage"], section, call.node)
    return f"{storage_state.folder(section, call['content'])}/{name}"


def download(call: Call) -> str:
    """POST …/download-url."""
    section, content = _section(call, ", not a file based storage!"), call["content"]
    if content not in storage_state.contents(section):
        raise failure(f"storage '{call['storage']}' is not configured for content-type '{content}'")
    path, url = _target(call, section, _name(call)), call["url"]
    found = fetch(call.world, url)
    seconds = 0.0 if isinstance(found, str) else found["size"] / DOWNLOAD_RATE
    wanted = {name: call[name] for name in ("checksum", "checksum-algorithm") if name in call.params}
    log = [f"downloading {url} to {path}"]
    return call.start("download", posixpath.basename(path), seconds, url=url, path=path, log=log, **wanted)


def _end_download(world: World, task: Document) -> None:
    args, log = task["args"], task["log"]
    files, path = Files(world, task["node"]), args["path"]
    if files.exists(path):
        _compare_existing(files, path, args, log)
        return
    temporary = f"{path}.tmp_dwnl.{task['pid']}"
    found = _wget(world, task, temporary)
    if "checksum" in args:
        got = _digest(found, args["checksum-algorithm"])
        if got != args["checksum"].lower():
            log.append("calculating checksum...")
            raise TaskFailed(_mismatch(got, args["checksum"]))
        log.append("calculating checksum...OK, checksum verified")
    try:
        files.mkdir(posixpath.dirname(path), parents=True)
        if found.get("text") is not None:
            files.write(path, found["text"].encode())
        else:
            files.put_synthetic(path, found["size"], found["sha256"], found.get("facts"))
    except OSError as error:
        log.append(f"Cannot write to '{temporary}' ({error.strerror}).")
        raise _ended(_FILE_ERROR) from None
    log.append(f"download of '{args['url']}' to '{path}' finished")


def _wget(world: World, task: Document, target: str) -> Document:
    """Return what the task's wget fetches, and put into its log what that says."""
    log, url = task["log"], task["args"]["url"]
    found, parts = fetch(world, url), urlsplit(url)
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(task["due"]))
    log.append(f"--{stamp}--  {url}")
    name = parts.hostname
    place = f"{name}:{parts.port or (80 if parts.scheme == 'http' else 443)}"
    if isinstance(found, str) and found.startswith(NO_CONNECTION):
        why = found.rpartition("(")[2].rstrip(")")
        if why == "Connection refused":
            log.append(f"Connecting to {place}... failed: {why}.")
        else:
            log.append(f"Resolving {name} ({name})... failed: {why}.")
            log.append(f"wget: unable to resolve host address '{name}'")
        raise _ended(_NETWORK_FAILURE)
    log.append(f"Connecting to {place}... connected.")
    log.append(f"HTTP request sent, awaiting response... {found if isinstance(found, str) else '200 OK'}")
    if isinstance(found, str):
        code, _, reason = found.partition(" ")
        log.append(f"{stamp} ERROR {code}: {reason}.")
        raise _ended(_SERVER_ERROR)
    log += [f"Length: {found['size']} [application/octet-stream]", f"Saving to: '{target}'"]
    return found


def _ended(code: int) -> TaskFailed:
    return TaskFailed(f"download failed: exit code {code}")


def _compare_existing(files: Files, path: str, args: Document, log: list[str]) -> None:
    if not args.get("checksum"):
        raise TaskFailed(f"refusing to override existing file '{path}'")
    got = _digest(files.stat(path), args["checksum-algorithm"])
    if got != args["checksum"].lower():
        log.append("calculating checksum of existing file...")
        raise TaskFailed(f"{_mismatch(got, args['checksum'])}, aborting")
    log.append("calculating checksum of existing file...OK, got correct file already, no need to download")


def _digest(file: Document, algorithm: str) -> str:
    """Return the checksum; of big files the lab knows SHA-256 alone, and no other can be right."""
    return str(file["sha256"]) if algorithm == "sha256" else f"(the lab keeps no {algorithm})"


def _mismatch(got: str, wanted: str) -> str:
    return f"checksum mismatch: got '{got}' != expect '{wanted}'"


def upload(call: Call) -> str:
    """POST …/upload: the HTTP part has put the file on the node under `tmpfilename`."""
    section, temporary, content = _section(call, ""), call.get("tmpfilename", ""), call["content"]
    if not temporary:
        raise failure("missing temporary file name")
    if not call.files.exists(temporary):
        raise failure(f"temporary file '{temporary}' does not exist")
    name = _name(call)
    if content not in storage_state.contents(section):
        raise failure(f"storage '{call['storage']}' does not support '{content}' content")
    path = _target(call, section, name)
    wanted = {name: call[name] for name in ("checksum", "checksum-algorithm") if name in call.params}
    log = [f"starting file import from: {temporary}"]
    return call.start("imgcopy", "", 2.0, path=path, temporary=temporary, log=log, **wanted)


def _end_upload(world: World, task: Document) -> None:
    args, files, log = task["args"], Files(world, task["node"]), task["log"]
    if "checksum" in args:
        got = _digest(files.stat(args["temporary"]), args["checksum-algorithm"])
        if got != args["checksum"].lower():
            log.append("calculating checksum...")
            files.remove(args["temporary"])
            raise TaskFailed(_mismatch(got, args["checksum"]))
        log.append("calculating checksum...OK, checksum verified")
    size = files.stat(args["temporary"])["size"]
    log += [f"target node: {task['node']}", f"target file: {args['path']}", f"file size is: {size}"]
    log.append(f"command: cp -- {args['temporary']} {args['path']}")
    try:
        files.mkdir(posixpath.dirname(args["path"]), parents=True)
        files.copy(args["temporary"], args["path"])
    except OSError as error:
        raise TaskFailed(f"import failed: cp: error writing '{args['path']}': {error.strerror}") from None
    finally:
        files.remove(args["temporary"])
    log.append("finished file import successfully")


_SUMS = """checksum?:str!checksum-algorithm checksum-algorithm?:(md5|sha1|sha224|sha256|sha384|sha512)!checksum"""
_FETCH = f"node:node storage:storage-id content:storage-content(iso|vztmpl|import) filename:str<..255> {_SUMS}"
_TEMPLATE = perm("/storage/{storage}", "Datastore.AllocateTemplate")
_UPLOAD = f"{_FETCH} tmpfilename?:upload-name"
ROUTES = (
    Route(
        "POST",
        "/nodes/{node}/storage/{storage}/download-url",
        download,
        both(_TEMPLATE, nodes.MAY_DOWNLOAD),
        f"{_FETCH} url:url compression?:str verify-certificates?:bool",
        by=RECORDED,
    ),
    Route("POST", "/nodes/{node}/storage/{storage}/upload", upload, _TEMPLATE, _UPLOAD, by=SCHEMA),
)
WORKS = {"download": _end_download, "imgcopy": _end_upload}
