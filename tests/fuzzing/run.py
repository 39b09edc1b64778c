"""Gives every decoder inputs that nobody would send, and counts what becomes of them.

    python tests/fuzzing/run.py --inputs 100000 --seed 1
    python tests/fuzzing/run.py stream chain --inputs 1000000 --plain

With the package atheris, coverage guides what is tried; without it, or with `--plain`, a seed gives the same inputs.
What breaks a decoder is put into a folder, with words beside it; once mended, it belongs into tests/fuzzing/found.
"""

import argparse
import contextlib
import importlib.util
import sys
import tempfile
import time
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent / "support")]

GROWTH_BYTES = 48 << 20  # of a process, which without coverage keeps nothing of its inputs


def main():
    parser = argparse.ArgumentParser(description="Fuzz the decoders.")
    parser.add_argument("decoders", nargs="*", metavar="DECODER", help="all unless given")
    parser.add_argument("--inputs", type=int, default=100_000, help="over all decoders (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=0.0, help="go on with other seeds until so long has passed")
    parser.add_argument("--plain", action="store_true", help="do not be guided by coverage")
    parser.add_argument("--defects", type=Path, default=Path("out/fuzzing"), help="folder for what breaks something")
    parser.add_argument("--corpus", type=Path, help="folder for inputs that reach more code; else they are not kept")
    options = parser.parse_args()
    guided = not options.plain and importlib.util.find_spec("atheris") is not None
    with instrumented() if guided else contextlib.nullcontext():
        import fuzz_decoders
        import fuzz_process
    if unknown := set(options.decoders) - set(fuzz_decoders.DECODERS):
        parser.error(f"there is no decoder {', '.join(unknown)}; there are {', '.join(fuzz_decoders.DECODERS)}")
    names = options.decoders or list(fuzz_decoders.DECODERS)
    shares = sum(fuzz_decoders.DECODERS[name].share for name in names)
    options.defects.mkdir(parents=True, exist_ok=True)
    totals = {name: fuzz_process.Outcome() for name in names}
    until, seed = time.monotonic() + 60 * options.minutes, options.seed
    print("guided by coverage" if guided else "not guided by coverage", flush=True)
    with tempfile.TemporaryDirectory(prefix="echotrain-corpus-") as folder:
        corpus = options.corpus or Path(folder)
        while seed == options.seed or time.monotonic() < until:
            for name, total in totals.items():
                n_inputs = max(1, options.inputs * fuzz_decoders.DECODERS[name].share // shares)
                place = corpus / name if guided else None
                outcome = fuzz_process.fuzz(name, n_inputs, seed, options.defects, place)
                total.inputs += outcome.inputs
                total.accepted += outcome.accepted
                total.ended += outcome.ended
                total.growth = max(total.growth, outcome.growth)
            seed += 1
            print(table(totals, options.defects), flush=True)
    grown = not guided and max(total.growth for total in totals.values()) > GROWTH_BYTES
    return 1 if grown or defects(options.defects) else 0


def instrumented():
    import atheris

    return atheris.instrument_imports(include=["echotrain"])


def defects(folder, name=""):
    return sorted(folder.glob(f"{name}*.txt"))


def table(totals, folder):
    lines = ["| decoder | inputs | accepted | defects | crashes, hangs | growth |", "|---|---|---|---|---|---|"]
    for name, total in totals.items():
        n_defects = len(defects(folder, f"{name}-"))
        accepted, growth = f"{100 * total.accepted / total.inputs:.0f} %", f"{total.growth / 1e6:.1f} MB"
        lines.append(f"| {name} | {total.inputs} | {accepted} | {n_defects} | {total.ended} | {growth} |")
    words = [f"{path.stem}: {path.read_text().strip().splitlines()[-1][:200]}" for path in defects(folder)]
    return "\n".join([*lines, f"{sum(total.inputs for total in totals.values())} inputs", *words])


if __name__ == "__main__":
    sys.exit(main())
