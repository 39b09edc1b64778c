"""The BART toolbox as an independent implementation to compare with, where it is installed."""

import shutil
import subprocess

import numpy as np
import pytest


@pytest.fixture
def bart(tmp_path):
    """`bart("fft -iu 3", array)`: arrays in C order (..., channel, z, y, x) in and out."""
    program = shutil.which("bart")
    if program is None:
        pytest.skip("BART is not installed")

    def run(command, *arrays):
        names = []
        for number, array in enumerate(arrays):
            names.append(str(tmp_path / f"in{number}"))
            dimensions = " ".join(map(str, array.shape[::-1]))
            (tmp_path / f"in{number}.hdr").write_text(f"# Dimensions\n{dimensions}\n")
            (tmp_path / f"in{number}.cfl").write_bytes(np.ascontiguousarray(array, np.complex64).tobytes())
        subprocess.run([program, *command.split(), *names, str(tmp_path / "out")], check=True, capture_output=True)
        shape = [int(size) for size in (tmp_path / "out.hdr").read_text().splitlines()[1].split()]
        return np.fromfile(tmp_path / "out.cfl", np.complex64).reshape(shape[3::-1])

    return run
