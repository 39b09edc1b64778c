"""No bytes at all make a decoder do what it should not; tests/fuzzing/run.py tries far more of them."""

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from fuzz_decoders import DECODERS
from fuzz_process import FOUND, inputs_of, judge, read_input
from hypothesis import given
from hypothesis import strategies as st

RUN = Path(__file__).with_name("run.py")
FEW = 3000  # inputs over all decoders
DEADLINE = 1800  # [s] for a machine that is busy

found = sorted(FOUND.rglob("*"))
here = [name for name, decoder in DECODERS.items() if not decoder.foreign]


@pytest.mark.parametrize("path", [path for path in found if path.is_file()], ids=lambda path: path.stem)
def test_what_broke_a_decoder_once_does_so_no_longer(path, tmp_path):
    judge(path.parent.name, read_input(path), tmp_path)


@pytest.mark.parametrize("name", DECODERS)
def test_what_fuzzing_begins_with_is_accepted(name, tmp_path):
    accepted = [judge(name, data, tmp_path) for data in DECODERS[name].seeds()]
    assert any(accepted)


@pytest.mark.parametrize("name", here)
def test_changed_inputs_break_no_decoder(name, tmp_path):
    sources = inputs_of(name)

    @given(st.sampled_from(sources), st.integers(0, 1 << 32))
    def holds(data, seed):
        judge(name, DECODERS[name].mutate(data, Random(seed), sources), tmp_path, traced=False)

    holds()


@pytest.mark.parametrize("name", here)
def test_any_bytes_break_no_decoder(name, tmp_path):
    @given(st.binary(max_size=200))
    def holds(data):
        judge(name, data, tmp_path, traced=False)

    holds()


def test_the_command_counts_what_it_tried_and_finds_nothing(tmp_path):
    ended = subprocess.run(
        [sys.executable, str(RUN), "--inputs", str(FEW), "--plain", "--defects", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert all(f"| {name} | " in ended.stdout for name in DECODERS)
    assert list(tmp_path.iterdir()) == []
