"""`./run test [tier…]`, `./run test histories`, `./run test hammer` and `./run bench [name]`."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time

from deploy.local.places import CHECKOUT, TIERS, Artifacts, benches, cache_home

# The tiers in the order in which they run: fast ones first.
# A killed program cannot tell what it ran, so the crash tier is not measured.
MEASURED = ("unit", "service", "system", "browser")
COVERAGE_PERCENT = 90
HISTORIES, HAMMERINGS = 10_000, 10


def main(arguments: list[str]) -> int:
    """Run the verb. Returns the exit status."""
    verb, names = arguments[0], arguments[1:]
    os.chdir(CHECKOUT)
    artifacts = Artifacts.of_this_checkout()
    os.environ["DC_STATIC_BUNDLE"] = str(artifacts.bundle)
    os.environ["DISTRIBUTEDCOMPUTE_STRIPE_MOCK"] = str(artifacts.stripe_mock / "stripe-mock")
    os.environ["DC_NODE_MODULES"] = str(artifacts.node_modules)
    for name, long in (("histories", _histories), ("hammer", _hammer)):
        if name in names:
            names.remove(name)
            code = long()
            if code or not names:
                return code
    return _test(names) if verb == "test" else _bench(names)


def _test(names: list[str]) -> int:
    """Run the tiers; a run of all of them also has to reach the coverage that the product needs."""
    # Programs that tests start live in other folders and write beside this file.
    folder = cache_home() / "coverage" / hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:8]
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["COVERAGE_FILE"] = str(folder / "data")
    if not names:
        _coverage("erase")
    results = {
        tier: _tier(tier, measured=not names) for tier in TIERS if not names or tier in names
    }
    if not names:
        results["coverage"] = _coverage("report", f"--fail-under={COVERAGE_PERCENT}")
    print("\n" + "\n".join(f"  {tier:<9} {result}" for tier, result in results.items()))
    return 0 if all(result.startswith("passed") for result in results.values()) else 1


def _histories() -> int:
    """Run many more random histories of money than a plain run does: before a release."""
    os.environ.setdefault("DISTRIBUTEDCOMPUTE_HISTORIES", str(HISTORIES))
    files = ["tests/crash/test_histories.py", "tests/crash/test_lives.py"]
    command = [sys.executable, "-m", "pytest", *files]
    return subprocess.run(command, check=False).returncode


def _hammer() -> int:
    """Kill writers of money ten times over 200 operations: before a release."""
    os.environ.setdefault("DISTRIBUTEDCOMPUTE_HAMMERINGS", str(HAMMERINGS))
    command = [sys.executable, "-m", "pytest", "tests/crash/test_writers.py"]
    return subprocess.run(command, check=False).returncode


def _tier(tier: str, *, measured: bool) -> str:
    """Run one tier; return what became of it. A tier without tests fails: nothing was proven."""
    print(f"\n== {tier}", flush=True)
    began = time.monotonic()
    folder = cache_home() / "pytest"
    command = [sys.executable, "-m", "pytest", "-m", tier, "-o", f"cache_dir={folder}"]
    if measured and tier in MEASURED:
        command += ["--cov", "--cov-append", "--cov-report="]
    done = subprocess.run(command, check=False)
    verdict = {0: "passed", 5: "has no tests"}.get(done.returncode, "FAILED")
    return f"{verdict}, {time.monotonic() - began:.0f} s"


def _coverage(*words: str) -> str:
    """Run coverage's own command; return what became of it."""
    print(f"\n== coverage {words[0]}", flush=True)
    done = subprocess.run([sys.executable, "-m", "coverage", *words], check=False)
    return "passed" if done.returncode == 0 else f"FAILED, less than {COVERAGE_PERCENT} %"


def _bench(names: list[str]) -> int:
    codes = [
        subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode
        for name in names or benches()
    ]
    return max(codes, default=0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
