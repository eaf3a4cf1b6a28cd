"""Own what a simulated name server has read: the texts of its files, kept apart from the files as they are now.

A daemon answers from what it read when it started. `Texts` reads the host's files and
remembers each; `Kept` gives the same texts back, whatever became of the files.
Bytes are Latin-1 here, so that every file is a text and none is changed.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Protocol


class Tree(Protocol):
    """What is read from: the files of a host, or remembered ones."""

    def read(self, path: str) -> bytes:
        """Return a file's content."""

    def listdir(self, path: str) -> list[str]:
        """Return the names in a directory, sorted."""

    def is_dir(self, path: str) -> bool:
        """Tell whether the path is a directory."""


class Texts:
    """Texts by path, as they were when they were read."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.read_so_far: dict[str, str] = {}

    def read(self, path: str) -> str:
        """Return a file's text. Raises OSError as the tree does."""
        text = self._tree.read(path).decode("latin-1")
        self.read_so_far[path] = text
        return text

    def files_in(self, folder: str) -> list[str]:
        """Return the paths of the files in a directory, no directories, sorted."""
        paths = [posixpath.join(folder, name) for name in self._tree.listdir(folder)]
        return [path for path in paths if not self._tree.is_dir(path)]


class Kept:
    """A tree of texts that were read before."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def read(self, path: str) -> bytes:
        """Return a text's bytes."""
        if path not in self._texts:
            raise FileNotFoundError(2, "No such file or directory", path)
        return self._texts[path].encode("latin-1")

    def listdir(self, path: str) -> list[str]:
        """Return the names of the texts in a directory."""
        return sorted(posixpath.basename(each) for each in self._texts if posixpath.dirname(each) == path.rstrip("/"))

    def is_dir(self, path: str) -> bool:
        """Tell that no text is a directory."""
        return False
