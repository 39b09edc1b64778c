"""The long forms of the fault tests: as many faults, or minutes of them, as asked for, and what became of them.

    python tests/faults/run.py --faults 500 --seed 1 --write
    python tests/faults/run.py --minutes 60

The same seed strikes the same scans at the same lines and images. `--write` puts the table into docs/reliability.md.
With `--minutes` one server lives all the time, and its memory and descriptors must be as few after as they were before.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from fault_server import GROWTH_BYTES, sizes_of  # noqa: E402
from fault_table import table, write_table  # noqa: E402
from fault_trials import KINDS, ONE_SERVER, Reference, fault_server, plans, run_trial  # noqa: E402

WARM = 20  # scans after which a server has what it keeps


def main():
    parser = argparse.ArgumentParser(description="Inject faults and count what is lost.")
    parser.add_argument("--faults", type=int, default=500, help="how many at least (default %(default)s)")
    parser.add_argument("--minutes", type=float, default=0.0, help="how long instead, with one server")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", choices=KINDS, help="kinds of faults; all unless given")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="echotrain-faults-") as name, fault_server(Path(name)) as server:
        outcomes, grown = run(options, server, Path(name))
    text = table(outcomes)
    print(text)
    if options.write:
        write_table(ROOT / "docs" / "reliability.md", text, options.seed)
    wrong = [f"{one.plan.kind}, seed {one.plan.seed}: {one.wrong}" for one in outcomes if one.wrong] + grown
    for words in wrong:
        print(words, file=sys.stderr)
    return 1 if wrong else 0


def run(options, server, folder):
    """Outcomes, and what has grown."""
    begun, outcomes, sizes = time.monotonic(), [], []
    references = Reference(server, folder)
    kinds = options.only or [kind for kind in server.kinds if not options.minutes or kind in ONE_SERVER]
    for plan in plans(options.seed, kinds):
        if options.minutes and len(outcomes) >= WARM:
            sizes.append(sizes_of(server))
        n_faults, seconds = sum(one.faults for one in outcomes), time.monotonic() - begun
        if seconds > 60 * options.minutes if options.minutes else n_faults >= options.faults:
            return outcomes, growth(sizes)
        outcomes.append(run_trial(plan, server, references, folder))
        print(f"{seconds:6.1f} s  {n_faults:4}  {outcomes[-1]}", flush=True)


def growth(sizes):
    """What is larger in the end than it was at the beginning, in words."""
    if not sizes:
        return []
    (descriptors, before), (descriptors_after, after) = (
        map(min, zip(*part, strict=True)) for part in (sizes[:5], sizes[-5:])
    )
    print(f"descriptors {descriptors} to {descriptors_after}, memory {before / 1e6:.1f} to {after / 1e6:.1f} MB")
    return [
        *([f"descriptors grew from {descriptors} to {descriptors_after}"] if descriptors_after > descriptors else []),
        *([f"memory grew from {before} to {after} bytes"] if after > before + GROWTH_BYTES else []),
    ]


if __name__ == "__main__":
    sys.exit(main())
