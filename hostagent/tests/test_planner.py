"""The planner reaches every wish from every state, and rests there."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hostagent.planner import Action, Container, Facts, Wish, plan, why_it_failed

any_facts = st.builds(
    Facts,
    container=st.sampled_from(Container),
    tunnels_open=st.booleans(),
    any_tunnel=st.booleans(),
    stopped_by_us=st.booleans(),
    failed=st.booleans(),
    leftovers=st.booleans(),
    restart_due=st.booleans(),
    was_there=st.booleans(),
)


def apply(action: Action, facts: Facts) -> Facts:
    """Return the facts after an action has worked."""
    effects = {
        Action.CREATE: {"container": Container.CREATED, "leftovers": True},
        Action.START: {
            "container": Container.RUNNING,
            "stopped_by_us": False,
            "restart_due": False,
        },
        Action.OPEN_TUNNELS: {"tunnels_open": True, "any_tunnel": True},
        Action.CLOSE_TUNNELS: {"tunnels_open": False, "any_tunnel": False},
        Action.STOP: {"container": Container.EXITED, "stopped_by_us": True},
        Action.REMOVE: {"container": Container.NONE, "leftovers": False, "failed": False},
        Action.FAIL: {"failed": True},
    }
    return replace(facts, **effects[action])  # type: ignore[arg-type]


@given(st.sampled_from(Wish), any_facts)
def test_every_wish_is_reached_in_a_few_steps_and_the_plan_is_then_empty(
    wish: Wish, facts: Facts
) -> None:
    for _ in range(6):
        action = plan(wish, facts)
        if action is Action.NOTHING:
            break
        facts = apply(action, facts)
    assert plan(wish, facts) is Action.NOTHING
    if wish is Wish.ABSENT:
        assert (facts.container, facts.any_tunnel, facts.leftovers) == (
            Container.NONE,
            False,
            False,
        )
    if wish is Wish.STOPPED:
        assert facts.container is not Container.RUNNING
        assert not facts.any_tunnel
    if wish is Wish.RUNNING and not facts.failed:
        assert (facts.container, facts.tunnels_open) == (Container.RUNNING, True)


def test_a_container_that_ended_by_itself_is_a_failure_and_one_that_we_stopped_is_not() -> None:
    ended = Facts(Container.EXITED, False, False, False, False, True)
    assert plan(Wish.RUNNING, ended) is Action.FAIL
    assert plan(Wish.RUNNING, replace(ended, stopped_by_us=True)) is Action.START
    assert plan(Wish.RUNNING, replace(ended, failed=True)) is Action.NOTHING


def test_what_has_failed_while_it_runs_is_stopped_and_rests() -> None:
    full = Facts(Container.RUNNING, True, True, False, True, True)
    assert plan(Wish.RUNNING, full) is Action.STOP
    assert plan(Wish.RUNNING, apply(Action.STOP, full)) is Action.NOTHING
    # Wished anew, the failure is forgotten, and it is one that we stopped.
    again = replace(apply(Action.STOP, full), failed=False)
    assert plan(Wish.RUNNING, again) is Action.START


def test_a_container_that_is_gone_with_its_disk_is_a_failure_and_is_not_made_again() -> None:
    gone = Facts(Container.NONE, False, False, False, False, False, was_there=True)
    assert plan(Wish.RUNNING, gone) is Action.FAIL
    assert plan(Wish.RUNNING, replace(gone, failed=True)) is Action.NOTHING
    assert plan(Wish.RUNNING, replace(gone, was_there=False)) is Action.CREATE
    assert why_it_failed(Container.NONE, {})[0] == "host_removed"
    assert why_it_failed(Container.EXITED, {"OOMKilled": True})[0] == "oom_killed"
    assert why_it_failed(Container.EXITED, {"ExitCode": 3})[0] == "container_exited"
