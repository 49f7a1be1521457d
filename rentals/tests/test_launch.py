"""The document of a template: what goes in comes out, and nonsense is refused by name."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Invalid
from rentals.launch import MAX_ENV_CHARS, RESERVED_ENV, as_json, read_document

# Everything but the halves of characters and NUL, which nobody can store.
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)
lines = text.filter(lambda line: line.isprintable() and line == line.strip())
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True).filter(
    lambda name: not name.startswith(RESERVED_ENV)
)
secret_names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
words = st.none() | st.lists(text, min_size=1, max_size=4)
image_part = st.text(string.ascii_lowercase, min_size=1, max_size=8)
images = st.builds(
    "{}/{}:{}".format,
    st.sampled_from(["docker.io/library", "registry.example.org:5000/a", "ghcr.example/x-y"]),
    image_part,
    image_part,
)
ports = st.lists(
    st.fixed_dictionaries(
        {"port": st.integers(23, 65_535)},
        optional={"label": lines, "kind": st.sampled_from(["http", "tcp"])},
    ),
    max_size=5,
    unique_by=lambda port: port["port"],
)
numbers = st.integers(0, 10_000)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A template's document as somebody could write it, with anything left out that may be."""
    env = draw(st.dictionaries(names, text, max_size=4))
    secrets = draw(
        st.dictionaries(names.filter(lambda name: name not in env), secret_names, max_size=3)
    )
    disk = draw(st.integers(1, 100_000))
    more: dict[str, Any] = {
        "entrypoint": draw(words),
        "command": draw(words),
        "env": env,
        "secrets": secrets,
        "registry_login": draw(st.none() | secret_names),
        "ports": draw(ports),
        "disk_gb": disk,
        "min_disk_gb": draw(st.integers(1, disk)),
        "start_script": draw(text),
        "ssh_user": draw(st.sampled_from(["root", "ubuntu", "_x"])),
        "minimum": draw(
            st.fixed_dictionaries(
                {}, optional={"vram_mib": numbers, "cuda": numbers, "gpus": st.just(2)}
            )
        ),
    }
    kept = draw(st.sets(st.sampled_from(sorted(more))))
    # A least disk without the usual one would be measured against the default.
    kept = kept | {"disk_gb"} if "min_disk_gb" in kept else kept
    launch = {"image": draw(images), **{name: more[name] for name in kept}}
    return {
        "name": draw(lines.filter(bool)),
        "description": draw(lines),
        "readme": draw(text),
        "launch": launch,
    }


@settings(max_examples=300, deadline=None)
@given(documents())
def test_a_document_comes_back_exactly_through_json(told: dict[str, Any]) -> None:
    document = read_document(told)
    written = json.dumps(as_json(document))
    again = read_document(json.loads(written))
    assert again == document
    assert json.dumps(as_json(again)) == written
    # Nothing that was said got lost or changed on the way.
    assert_within(told, as_json(again))


def assert_within(said: Any, kept: Any) -> None:
    if isinstance(said, dict):
        for name, value in said.items():
            assert_within(value, kept[name])
    elif isinstance(said, list) and said and isinstance(said[0], dict):
        assert len(said) == len(kept)
        for one, other in zip(said, kept, strict=True):
            assert_within(one, other)
    else:
        assert said == kept


def test_a_value_with_equal_signs_quotes_and_line_breaks_is_a_value() -> None:
    env = {
        "URL": "postgres://u:p@h/db?sslmode=require&x=a=b=",
        "TEXT": "one 'two' \"three\"\n$HOME\t\\",
    }
    launch = {"image": "debian:12", "env": env}
    assert read_document({"name": "x", "launch": launch}).launch.env == env


@pytest.mark.parametrize(
    ("launch", "code"),
    [
        ({"image": ""}, "template_image"),
        ({"image": "UPPER:1"}, "template_image"),
        ({"image": "a b"}, "template_image"),
        ({"image": "x" * 501}, "template_image"),
        ({"image": "-v:/:/host"}, "template_image"),
        ({"image": "sha256:" + "a" * 64}, "template_image"),
        ({"image": "deadbeef0123"}, "template_image"),
        ({"command": []}, "template_command"),
        ({"entrypoint": ["a\x00b"]}, "template_command"),
        ({"command": ["x"] * 129}, "template_command"),
        ({"command": ["x" * 8193]}, "template_command"),
        ({"command": "sh -c x"}, "template_unreadable"),
        ({"env": {"1A": "x"}}, "template_env_name"),
        ({"env": {"A=B": "x"}}, "template_env_name"),
        ({"env": {"A B": "x"}}, "template_env_name"),
        ({"env": {"": "x"}}, "template_env_name"),
        ({"env": {"A\n": "x"}}, "template_env_name"),
        ({"env": {"NVIDIA_VISIBLE_DEVICES": "all"}}, "template_env_name"),
        ({"secrets": {"LD_PRELOAD": "s"}}, "template_env_name"),
        ({"env": {"A": "x\x00"}}, "template_env_value"),
        ({"env": {"A": "\ud800"}}, "template_env_value"),
        ({"env": {"A": "x" * 8193}}, "template_env_value"),
        ({"env": {f"A{i}": "x" * 8000 for i in range(5)}}, "template_env_size"),
        ({"env": {f"A{i}": "" for i in range(101)}}, "template_env_size"),
        ({"env": {"A": "x"}, "secrets": {"A": "s"}}, "template_env_twice"),
        ({"secrets": {"A": "no spaces"}}, "template_secret_name"),
        ({"registry_login": "../x"}, "template_secret_name"),
        ({"ports": [{"port": 0}]}, "template_ports"),
        ({"ports": [{"port": 65_536}]}, "template_ports"),
        ({"ports": [{"port": 22}]}, "template_ports"),
        ({"ports": [{"port": 80}, {"port": 80}]}, "template_ports"),
        ({"ports": [{"port": 80, "label": "x" * 41}]}, "template_ports"),
        ({"ports": [{"port": 80, "label": "a\nb"}]}, "template_ports"),
        ({"secrets": {f"A{i}": "s" for i in range(33)}}, "template_env_size"),
        ({"ports": [{"port": 80, "kind": "udp"}]}, "template_unreadable"),
        ({"ports": [{"port": i} for i in range(30, 51)]}, "template_ports"),
        ({"ssh_port": 0}, "template_ssh"),
        ({"ssh_user": "root; rm"}, "template_ssh"),
        ({"disk_gb": 0}, "template_disk"),
        ({"disk_gb": 5, "min_disk_gb": 6}, "template_disk"),
        ({"disk_gb": 100_001}, "template_disk"),
        ({"disk_gb": 1.5}, "template_unreadable"),
        ({"disk_gb": 10**30}, "template_disk"),
        ({"start_script": "x" * 16_385}, "template_script"),
        ({"start_script": "a\x00"}, "template_script"),
        ({"minimum": {"vram_mib": -1}}, "template_minimum"),
        ({"minimum": {"gpus": 65}}, "template_minimum"),
        ({"minimum": {"vram": 1}}, "template_unreadable"),
        ({"privileged": True}, "template_unreadable"),
        ({"image": None}, "template_unreadable"),
    ],
)  # fmt: skip
def test_what_cannot_be_started_is_refused_by_name(launch: dict[str, Any], code: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_document({"name": "x", "launch": {"image": "debian:12", **launch}})
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ({"name": " "}, "template_name"),
        ({"name": "x" * 81}, "template_name"),
        ({"name": "\x00"}, "template_name"),
        ({"name": "two\nlines"}, "template_name"),
        ({"description": " x"}, "template_description"),
        ({"slug": "Not a slug"}, "template_slug"),
        ({"slug": "x" * 61}, "template_slug"),
        ({"description": "x" * 401}, "template_description"),
        ({"readme": "x" * 20_001}, "template_readme"),
        ({"format": "dcompute-template-9"}, "template_unreadable"),
        ({"owner": "me"}, "template_unreadable"),
    ],
)
def test_a_document_has_limits_too(part: dict[str, Any], code: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_document({"name": "x", "launch": {"image": "debian:12"}, **part})
    assert refused.value.code == code


def test_what_is_no_document_at_all_is_refused() -> None:
    nonsense: tuple[object, ...] = (None, [], "x", 7, {}, {"name": "x", "launch": "debian"})
    for told in nonsense:
        with pytest.raises(Invalid) as refused:
            read_document(told)
        assert refused.value.code == "template_unreadable"


def test_the_largest_environment_fits() -> None:
    env = {f"A{i}": "x" * 8192 for i in range(MAX_ENV_CHARS // 8192)}
    assert read_document({"name": "x", "launch": {"image": "a", "env": env}}).launch.env == env
