"""House rules that no linter knows, read from the code itself. CONTRIBUTING.md says why."""

from __future__ import annotations

import ast

from tests.architecture.tree import Source, calls, functions, sources

MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 40
MOST_LINES_OF_A_TASK = 12
# The ways out of a transaction; the only one that a service may use is core.outbox.publish.
WAYS_OUT = {
    "delay",
    "apply_async",
    "send_task",
    "send_mail",
    "mail_admins",
    "group_send",
    "urlopen",
}
INSIDE = {"services", "queries", "ledger", "models"}
MAY_LOCK = {"models", "templates", "queries", "ledger", "outbox"}
MAY_MOVE = {"moving", "listing", "models"}
STATES = {"state", "status"}
PLATFORM = {
    "core", "audit", "accounts", "billing", "nodes", "rentals", "realtime", "marketplace",
}  # fmt: skip


def test_the_rules_read_the_whole_product() -> None:
    assert {source.package for source in sources()} >= PLATFORM | {"hostagent", "deploy"}


def test_services_leave_their_transaction_only_by_the_outbox() -> None:
    found = [
        f"{source.at(call)} {name}"
        for source in sources()
        if source.room in INSIDE
        for call, name in calls(source)
        if name in WAYS_OUT
    ]
    assert not found


def test_rows_are_locked_where_the_models_are_and_never_more_than_needed() -> None:
    found = [
        source.at(call)
        for source in sources()
        for call, name in calls(source)
        if name == "select_for_update"
        and not (source.room in MAY_LOCK and _locks_gently(source, call))
    ]
    assert not found


def _locks_gently(source: Source, call: ast.Call) -> bool:
    gently = any(
        keyword.arg == "no_key" and ast.unparse(keyword.value) == "True"
        for keyword in call.keywords
    )
    return gently or "#" in source.line(call.lineno)


def test_states_are_moved_never_assigned() -> None:
    found = [
        source.at(node)
        for source in sources()
        if source.package in PLATFORM and source.rooms[-1] not in MAY_MOVE
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Attribute) and target.attr in STATES
    ]
    assert not found


def test_tasks_are_thin() -> None:
    found = [
        f"{source.at(function)} {function.name}"
        for source in sources()
        if source.room == "tasks"
        for function in functions(source)
        if _length(function) > MOST_LINES_OF_A_TASK
    ]
    assert not found


def test_functions_fit_on_a_screen() -> None:
    found = [
        f"{source.at(function)} {function.name}: {_length(function)} lines"
        for source in sources()
        for function in functions(source)
        if _length(function) > MOST_LINES_OF_A_FUNCTION
    ]
    assert not found


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return how many lines of code a function has; its docstring is not code."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function) is None:
        return lines
    docstring = function.body[0]
    return lines - ((docstring.end_lineno or docstring.lineno) - docstring.lineno + 1)


def test_files_can_be_read_in_one_sitting() -> None:
    lengths = {str(source.path): source.text.count("\n") for source in sources()}
    assert not {path: n for path, n in lengths.items() if n > MOST_LINES_OF_A_FILE}


def test_imports_stand_at_the_top() -> None:
    found = [
        source.at(node)
        for source in sources()
        for function in functions(source)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom) and "noqa" not in source.line(node.lineno)
    ]
    assert not found


def test_everything_is_caught_only_in_an_outer_loop_that_says_so() -> None:
    found = [
        source.at(node)
        for source in sources()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or "Exception" in ast.unparse(node.type).split())
        and "# the outer loop" not in source.line(node.lineno)
    ]
    assert not found


def test_nothing_is_called_utils() -> None:
    attics = {"utils", "util", "helpers", "misc", "common", "signals"}
    assert not [str(source.path) for source in sources() if attics.intersection(source.rooms)]


def test_every_module_says_what_it_is_for() -> None:
    silent = {"apps", "__init__", "manage", "urls", "api_urls"}
    found = [
        str(source.path)
        for source in sources()
        if source.rooms[-1] not in silent and ast.get_docstring(source.tree) is None
    ]
    assert not found
