"""What the fuzzer itself promises: a decoder that raises, dies, hangs or takes memory is told, with the input."""

import subprocess
import sys
from pathlib import Path

from fuzz_decoders import DECODERS

WORDS = {"raises": "KeyError", "dies": "SIGSEGV", "hangs": "SIGPROF", "takes": "bytes of memory"}
PROGRAM = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
sys.path[:0] = {folders!r}
import fuzz_decoders, fuzz_process

def raises():
    raise KeyError("x")

def dies():
    os.kill(os.getpid(), signal.SIGSEGV)

def hangs():
    while True:
        pass

def takes():
    held = bytes(1 << 26)

fuzz_process.CPU_SECONDS = 0.5
meta = fuzz_decoders.DECODERS["meta"]
for breaks in (raises, dies, hangs, takes):
    def check(data, folder):
        if data == {broken!r}:
            breaks()
        return True
    fuzz_decoders.DECODERS["meta"] = replace(meta, check=check)
    folder = Path({defects!r}, breaks.__name__)
    folder.mkdir()
    assert fuzz_process.fuzz("meta", 40, 1, folder).inputs == 40
"""


def test_a_decoder_that_breaks_is_told_with_the_input(tmp_path):
    broken = DECODERS["meta"].seeds()[1]
    folder = Path(__file__).parent
    folders = [str(folder), str(folder.parent / "support")]
    program = PROGRAM.format(folders=folders, broken=broken, defects=str(tmp_path))
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=1800, check=False)
    assert ended.returncode == 0, ended.stderr
    for how, word in WORDS.items():
        kept, words = sorted((tmp_path / how).iterdir())
        assert kept.read_bytes() == broken, how
        assert word in words.read_text()
