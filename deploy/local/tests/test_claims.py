"""What running stacks keep from each other: their folders and their public ports."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.claims import Claimed, claim

USUAL = (20_000, 32_767)


def state(folder: Path, name: str) -> Path:
    (folder / name).mkdir(exist_ok=True)
    return folder / name


def test_a_stack_that_runs_is_not_started_again_until_it_has_ended(tmp_path: Path) -> None:
    here = state(tmp_path, "aaaaaaaa")
    with claim(here, USUAL):
        with pytest.raises(Claimed, match="runs already, from another terminal"):
            claim(here, USUAL)
        assert (here / "lock").read_text() == "20000-32767\n"
    claim(here, USUAL).close()


def test_two_demos_do_not_hand_out_the_same_public_ports(tmp_path: Path) -> None:
    one, two = state(tmp_path, "aaaaaaaa"), state(tmp_path, "bbbbbbbb")
    with claim(one, USUAL):
        with pytest.raises(Claimed) as refused:
            claim(two, (32_767, 32_800))
        assert str(refused.value) == (
            "another demo of this machine hands out the public ports 32767-32800 or some of them. "
            "Stop it, or give this one others: DC_TUNNEL_PORTS=10000-10999"
        )
        with claim(two, (10_000, 10_999)):
            three = state(tmp_path, "cccccccc")
            with pytest.raises(Claimed, match="DC_TUNNEL_PORTS=11000-11999"):
                claim(three, USUAL)
    claim(two, USUAL).close()


def test_stacks_of_tests_run_beside_a_demo_and_a_demo_beside_them(tmp_path: Path) -> None:
    demo, test = state(tmp_path, "aaaaaaaa"), state(tmp_path, "bbbbbbbb-system")
    with claim(demo, USUAL), claim(test, (20_200, 20_399), alone=False):
        pass
    with claim(test, (20_200, 20_399), alone=False), claim(demo, USUAL):
        pass


def test_a_lock_of_older_code_that_says_nothing_is_in_nobodys_way(tmp_path: Path) -> None:
    old, new = state(tmp_path, "aaaaaaaa"), state(tmp_path, "bbbbbbbb")
    with claim(old, USUAL):
        (old / "lock").write_text("")
        claim(new, USUAL).close()
