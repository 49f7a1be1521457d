"""What a container reads at its start, by a real shell through a real pipe."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostagent.handover import Handover
from hostagent.spec import LAUNCH_PATH, container_config, exported, needs_launcher, program_of
from hostagent.tests.test_spec import PLACE, ROOMY, SPEC

AWKWARD = "one 'two' \"three\" = a=b\n$HOME `id` \\ \t ünï"
SHOW = [sys.executable, "-c", "import os; print(repr(dict(os.environ)))"]
values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=60)


def launched(folder: Path, *program: str) -> subprocess.Popen[str]:
    """Run the launcher as a container would, with its folder in another place."""
    return run_of(folder, "run", *program)


def run_of(folder: Path, script: str, *program: str) -> subprocess.Popen[str]:
    run = folder / "here"
    run.write_text((folder / script).read_text().replace(LAUNCH_PATH, str(folder)))
    return subprocess.Popen(
        ["/bin/sh", str(run), *program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"]},
    )


@pytest.fixture
def handover(tmp_path: Path) -> Handover:
    return Handover(tmp_path / "launch" / "w-g1")


def test_values_reach_the_program_through_the_pipe_and_no_file(handover: Handover) -> None:
    spec = msgspec.structs.replace(SPEC, secret_env={"TOKEN": AWKWARD, "EMPTY": ""})
    handover.prepare(spec)
    program = launched(handover.folder, *SHOW)
    assert handover.feed(spec, patience=10)
    out, _ = program.communicate(timeout=20)
    seen = eval(out)  # our own program's words
    assert (seen["TOKEN"], seen["EMPTY"]) == (AWKWARD, "")
    assert "DC_VARIABLES" not in seen
    assert stat.S_ISFIFO((handover.folder / "env").stat().st_mode)
    assert not any(
        "ünï" in path.read_text() for path in handover.folder.iterdir() if path.is_file()
    )
    # Nobody waits any more: an agent that comes back does not feed it again.
    assert not handover.feed(spec)
    assert not Handover(handover.folder).feed(spec)


def test_a_command_inside_has_the_values_and_starts_nothing_else(handover: Handover) -> None:
    spec = msgspec.structs.replace(SPEC, secret_env={"A": "x"}, start_script="echo started")
    handover.prepare(spec)
    program = launched(handover.folder, "/bin/true")
    assert handover.feed(spec, patience=10)
    program.communicate(timeout=20)
    shell, script, *command = handover.words(spec, 'echo "$A"')
    assert (shell, script) == ("sh", f"{LAUNCH_PATH}/inside")
    program = run_of(handover.folder, "inside", *command)
    assert handover.feed(spec, patience=10)
    assert program.communicate(timeout=20)[0] == "x\n"
    # Without secrets nothing of ours is between the engine and the command.
    assert handover.words(SPEC, "save") == ["sh", "-c", "save"]


def test_a_launcher_waits_for_an_agent_that_was_away(handover: Handover) -> None:
    spec = msgspec.structs.replace(SPEC, secret_env={"A": "x"})
    handover.prepare(spec)
    assert not handover.feed(spec)
    program = launched(handover.folder, "/bin/sh", "-c", 'echo "$A"')
    later = threading.Timer(0.5, lambda: handover.feed(spec, patience=10))
    later.start()
    assert program.communicate(timeout=20)[0] == "x\n"
    later.join()


def test_variables_that_arrive_in_part_start_nothing(handover: Handover) -> None:
    spec = msgspec.structs.replace(SPEC, secret_env={"A": "x"})
    handover.prepare(spec)
    program = launched(handover.folder, "/bin/sh", "-c", "echo started")
    (handover.folder / "env").write_text("export A='x'\n")
    out, err = program.communicate(timeout=20)
    assert (out, err, program.returncode) == ("", "the variables did not arrive\n", 1)


def test_the_start_script_runs_beside_the_program(handover: Handover) -> None:
    done = handover.folder / "done"
    spec = msgspec.structs.replace(SPEC, start_script=f'echo "script $0" > {done}\n')
    handover.prepare(spec)
    program = launched(handover.folder, "/bin/sh", "-c", 'echo "program $1"', "x", "a b")
    assert program.communicate(timeout=20)[0] == "program a b\n"
    for _ in range(200):
        if done.exists() and done.read_text():
            break
        threading.Event().wait(0.05)
    assert done.read_text() == f"script {handover.folder}/start\n"


def test_another_start_brings_other_things_and_nothing_is_left(handover: Handover) -> None:
    handover.prepare(msgspec.structs.replace(SPEC, secret_env={"A": "x"}, start_script="one"))
    handover.prepare(msgspec.structs.replace(SPEC, start_script="two"))
    assert sorted(path.name for path in handover.folder.iterdir()) == ["run", "start"]
    assert (handover.folder / "start").read_text() == "two"
    assert not handover.feed(SPEC)
    assert not handover.feed(None)
    assert (handover.folder.parent.stat().st_mode & 0o077) == 0
    handover.remove()
    assert not handover.folder.exists()


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True), values, max_size=4))
def test_a_shell_reads_every_value_as_it_was_written(env: dict[str, str]) -> None:
    kept = {name: value for name, value in env.items() if name not in {"_", "PWD", "OLDPWD", "IFS"}}
    names = sorted(kept)
    script = exported(kept).decode() + "".join(f'printf "%s\\0" "${name}"\n' for name in names)
    done = subprocess.run(["/bin/sh"], input=script.encode(), capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == [kept[name] for name in names]


def test_a_container_with_a_launcher_becomes_the_program_that_was_meant() -> None:
    image = {"Entrypoint": ["/entry"], "Cmd": ["serve"]}
    plain = msgspec.structs.replace(SPEC, command=None)
    assert program_of(plain, image) == ("/entry", "serve")
    assert program_of(SPEC, image) == ("/entry", "sleep", "inf")
    # Whoever names an entry point leaves the image's command behind, as the engine does it.
    assert program_of(msgspec.structs.replace(plain, entrypoint=["/mine"]), image) == ("/mine",)
    own = msgspec.structs.replace(SPEC, entrypoint=["/mine"])
    assert program_of(own, image) == ("/mine", "sleep", "inf")
    assert program_of(plain, {"Entrypoint": None, "Cmd": None}) == ()


def test_the_launcher_is_there_only_when_something_needs_it() -> None:
    assert not needs_launcher(SPEC)
    assert needs_launcher(msgspec.structs.replace(SPEC, start_script="x"))
    assert needs_launcher(msgspec.structs.replace(SPEC, secret_env={"A": "x"}))
    launching = replace(PLACE, launch_folder="/state/launch/w-g1", program=("/entry", "a"))
    spec = msgspec.structs.replace(SPEC, secret_env={"A": "canary"})
    config = container_config(spec, launching, ROOMY)
    assert config["Entrypoint"] == ["/bin/sh", f"{LAUNCH_PATH}/run"]
    assert config["Cmd"] == ["/entry", "a"]
    assert f"/state/launch/w-g1:{LAUNCH_PATH}:ro" in config["HostConfig"]["Binds"]
    assert "canary" not in repr(config)
    mine = container_config(msgspec.structs.replace(SPEC, entrypoint=["/mine"]), PLACE, ROOMY)
    assert (mine["Entrypoint"], mine["Cmd"]) == (["/mine"], ["sleep", "inf"])
