"""A template's document as the lines that people type into a form, and back, exactly. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

import msgspec

from core.errors import Invalid
from rentals.launch import Document, as_json, read_document

NUMBERS = ("ssh_port", "disk_gb", "min_disk_gb")
MINIMUM = ("gpus", "vram_mib", "cuda", "cpu_cores", "memory_mib")


def as_lines(document: Document) -> dict[str, Any]:
    """Return what the fields of a form hold for this document."""
    launch = document.launch
    least = {f"least_{name}": getattr(launch.minimum, name) for name in MINIMUM}
    return {
        "name": document.name,
        "slug": document.slug,
        "description": document.description,
        "readme": document.readme,
        "image": launch.image,
        "entrypoint": _words_out(launch.entrypoint),
        "command": _words_out(launch.command),
        "env": "\n".join(f"{name}={_value_out(value)}" for name, value in launch.env.items()),
        "secrets": "\n".join(f"{name}={secret}" for name, secret in launch.secrets.items()),
        "registry_login": launch.registry_login or "",
        "ports": "\n".join(f"{p.port} {p.kind} {p.label}".strip() for p in launch.ports),
        "ssh_user": launch.ssh_user,
        "start_script": launch.start_script,
        **{name: getattr(launch, name) for name in NUMBERS},
        **least,
    }


def from_lines(lines: Mapping[str, Any]) -> Document:
    """Return the document of a filled form. Raises Invalid as `rentals.launch.read_document` does."""
    launch = {
        "image": lines["image"],
        "entrypoint": _words_in(lines["entrypoint"]),
        "command": _words_in(lines["command"]),
        "env": {name: _value_in(name, value) for name, value in _pairs(lines["env"])},
        "secrets": {name: value.strip() for name, value in _pairs(lines["secrets"])},
        "registry_login": lines["registry_login"] or None,
        "ports": [_port_in(line) for line in _lines(lines["ports"])],
        "ssh_user": lines["ssh_user"],
        "start_script": _unix(lines["start_script"]),
        "minimum": {name: lines.get(f"least_{name}") or 0 for name in MINIMUM},
        **{name: lines[name] for name in NUMBERS},
    }
    told = {name: lines[name] for name in ("name", "slug", "description")}
    return read_document({**told, "readme": _unix(lines["readme"]), "launch": launch})


def as_file(document: Document) -> str:
    """Return the document as the text of a file."""
    return json.dumps(as_json(document), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def from_file(text: str) -> Document:
    """Return the document of such a text. Raises Invalid `template_unreadable` and as `read_document`."""
    try:
        return read_document(msgspec.json.decode(text.encode(errors="replace")))
    except msgspec.DecodeError as error:
        raise Invalid("template_unreadable", f"This is no JSON: {error}.") from None
    except RecursionError:
        raise Invalid("template_unreadable", "This JSON is nested far too deeply.") from None


def _unix(text: str) -> str:
    # Browsers send line ends in the manner of DOS, and a shell stumbles over them.
    return text.replace("\r\n", "\n")


def _lines(text: str) -> list[str]:
    return [line for line in _unix(text).split("\n") if line.strip()]


def _plain(text: str) -> bool:
    return text.isprintable() and text == text.strip()


def _words_out(words: list[str] | None) -> str:
    if words is None:
        return ""
    return shlex.join(words) if all(word.isprintable() for word in words) else json.dumps(words)


def _words_in(text: str) -> list[str] | None:
    text = _unix(text).strip()
    if not text:
        return None
    if text.startswith("["):
        try:
            return msgspec.json.decode(text.encode(errors="replace"), type=list[str])
        except msgspec.DecodeError:
            pass  # the program `[` and its arguments
    try:
        return shlex.split(text)
    except ValueError as error:
        raise Invalid("template_command", f"This command cannot be read: {error}.") from None


def _value_out(value: str) -> str:
    return value if _plain(value) and not value.startswith('"') else json.dumps(value)


def _value_in(name: str, value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        return msgspec.json.decode(value.strip().encode(errors="replace"), type=str)
    except msgspec.DecodeError:
        raise Invalid(
            "template_env_value",
            f"The value of {name} begins with a quote and is no JSON text. Write \\n for a line break.",
        ) from None


def _pairs(text: str) -> list[tuple[str, str]]:
    pairs = []
    for line in _lines(text):
        name, equals, value = line.partition("=")
        if not equals:
            raise Invalid(
                "template_env_name", f"Write NAME=value, one a line; {line[:40]!r} is not."
            )
        pairs.append((name.strip(), value))
    if len({name for name, _ in pairs}) < len(pairs):
        raise Invalid("template_env_twice", "A variable is there twice; one of them must go.")
    return pairs


def _port_in(line: str) -> dict[str, Any]:
    number, kind, label = [*line.split(None, 2), "", ""][:3]
    try:
        return {"port": int(number), "kind": kind or "tcp", "label": label.strip()}
    except ValueError:
        raise Invalid(
            "template_ports", f"Write a port as `8888 http name`; {line[:40]!r} is not."
        ) from None
