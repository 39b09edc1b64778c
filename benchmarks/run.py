"""Run every benchmark, one after the other: `make bench`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

NAMES = (
    "startup",
    "throughput",
    "durability",
    "tcp",
    "lines",
    "latency",
    "memory",
    "grappa",
    "dynamic",
    "learned_speed",
)


def main() -> None:
    """Print each benchmark's rows under its name."""
    for name in sys.argv[1:] or NAMES:
        print(f"\n{name}", flush=True)
        subprocess.run([sys.executable, str(Path(__file__).with_name(f"{name}.py"))], check=True)


if __name__ == "__main__":
    main()
