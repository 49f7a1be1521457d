"""The tree as these tests read it: which files are ours, and what stands in them."""

from __future__ import annotations

import ast
import configparser
import functools
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
# Packages that are no product: nothing of the product may import them, and they follow fewer rules.
WORKSHOP = frozenset({"tests", "bench", "examples"})


@dataclass(frozen=True)
class Source:
    """A Python file of ours."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def rooms(self) -> tuple[str, ...]:
        """The package, the room and so on: `rentals/services/life.py` is rentals, services, life."""
        return self.path.with_suffix("").parts

    @property
    def package(self) -> str:
        """The top-level package; empty for a file at the root."""
        return self.rooms[0] if len(self.rooms) > 1 else ""

    @property
    def room(self) -> str:
        """The room inside the package."""
        return self.rooms[1] if len(self.rooms) > 1 else self.rooms[0]

    def line(self, number: int) -> str:
        """Return a line of the file, counted from 1."""
        return self.text.splitlines()[number - 1]

    def at(self, node: ast.stmt | ast.expr | ast.ExceptHandler) -> str:
        """Return where a node stands, for a message."""
        return f"{self.path}:{node.lineno}"


@functools.cache
def tracked() -> tuple[Path, ...]:
    """Return every file that git knows or would add, relative to the root."""
    # Whoever owns the clone: it may have been mounted into a container.
    trusting = ["git", "-c", f"safe.directory={ROOT}"]
    command = [*trusting, "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return tuple(path for path in map(Path, done.stdout.splitlines()) if (ROOT / path).is_file())


@functools.cache
def sources() -> tuple[Source, ...]:
    """Return every Python file of the product: no tests, no migrations."""
    found = []
    for path in tracked():
        outside = {"tests", "migrations"}.intersection(path.parts) or path.parts[0] in WORKSHOP
        if path.suffix == ".py" and not outside:
            text = (ROOT / path).read_text()
            found.append(Source(path, text, ast.parse(text)))
    return tuple(found)


def functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function and method of a file."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def calls(source: Source) -> Iterator[tuple[ast.Call, str]]:
    """Yield every call of a file with the last word of what it calls."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else ast.unparse(called)
            yield node, name


@functools.cache
def contracts() -> configparser.ConfigParser:
    """Return the import contracts."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    return parser


def root_packages() -> frozenset[str]:
    """Return the packages that the import contracts watch."""
    return frozenset(contracts()["importlinter"]["root_packages"].split())
