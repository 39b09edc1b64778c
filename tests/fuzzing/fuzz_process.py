"""Fuzzes one decoder in a process of its own, so that a crash of a library in C is counted like any other defect."""

import faulthandler
import gzip
import mmap
import os
import resource
import signal
import struct
import tempfile
import traceback
import tracemalloc
import warnings
import zlib
from dataclasses import astuple, dataclass
from pathlib import Path
from random import Random

from fuzz_decoders import DECODERS
from fuzz_mutations import MAX_BYTES

FOUND = Path(__file__).with_name("found")
"""Inputs that broke something once, in a folder for each decoder: always run, and mutated."""
CORPUS = Path(__file__).with_name("corpus")
"""Inputs that reach code which others do not, likewise."""

CPU_SECONDS = 8.0  # for an input, after which it hangs; of the processor, so that a busy machine breaks nothing
MEMORY = 8 << 20  # what an input of any size may take [bytes]
DATA_BYTES = 1 << 30  # what no input may take, by a bound of the system
TRACED = 61  # of so many inputs, the memory of one is traced, which is slow


@dataclass
class Outcome:
    """What came of fuzzing a decoder."""

    inputs: int = 0
    accepted: int = 0
    growth: int = 0
    """Of the process, from the first quarter of the inputs to the end [bytes]."""
    ended: int = 0
    """How many inputs ended the process, or hung."""


class _Board:
    """Memory that a process leaves behind however it ends: the outcome, and the input that it was at."""

    _COUNTS = struct.Struct("<QQQQQ")

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1 << 20)
        self.outcome = Outcome()

    def put(self, data: bytes) -> None:
        counts = self._COUNTS.pack(*astuple(self.outcome), len(data))
        self._memory[: len(counts) + len(data)] = counts + data

    def take(self) -> bytes:
        """Bring the outcome up to what the other process said; gives its last input."""
        *counts, size = self._COUNTS.unpack_from(self._memory)
        self.outcome = Outcome(*counts)
        return self._memory[self._COUNTS.size : self._COUNTS.size + size]


def inputs_of(name: str) -> list[bytes]:
    """The seeds of a decoder and its inputs in the repository."""
    kept = sorted(path for folder in (FOUND, CORPUS) if (folder / name).is_dir() for path in (folder / name).iterdir())
    return DECODERS[name].seeds() + [read_input(path) for path in kept]


def read_input(path: Path) -> bytes:
    """An input of the repository; some are compressed."""
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def judge(name: str, data: bytes, folder: Path, *, traced: bool = True) -> bool:
    """Whether an input was accepted.

    Raises:
        Exception: where the decoder does what it never should.
    """
    if not traced:
        return DECODERS[name].check(data, folder)
    tracemalloc.start()
    try:
        accepted = DECODERS[name].check(data, folder)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEMORY + DECODERS[name].memory * len(data), f"{len(data)} bytes took {peak} bytes of memory"
    return accepted


def fuzz(name: str, n_inputs: int, seed: int, defects: Path, corpus: Path | None = None) -> Outcome:
    """Give a decoder many inputs; one for each way to break it is put into `defects`, with words beside it.

    With a folder `corpus`, coverage guides what is tried, and inputs that reach more are put there.
    """
    board, begun = _Board(), 0
    while board.outcome.inputs < n_inputs:
        with tempfile.TemporaryDirectory(prefix="echotrain-fuzz-") as folder:
            child = os.fork()
            if not child:
                try:
                    _Process(name, seed + begun, Path(folder), defects, board).run(n_inputs, corpus)
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(1)
            _, status = os.waitpid(child, 0)
            data = board.take()
            if board.outcome.inputs < n_inputs:
                words = Path(folder, "words").read_text(errors="replace")
                ended = f"signal {signal.Signals(status).name}" if os.WIFSIGNALED(status) else f"status {status >> 8}"
                if not DECODERS[name].foreign:
                    _keep(defects, name, data, f"{words}\nthe process ended with {ended}", ended)
                board.outcome.inputs += 1
                board.outcome.ended += 1
                begun += 1
    return board.outcome


def _keep(defects: Path, name: str, data: bytes, words: str, way: str) -> None:
    path = defects / f"{name}-{zlib.crc32(way.encode()):08x}"
    if not path.exists():
        path.write_bytes(data)
        path.with_suffix(".txt").write_text(words)


class _Process:
    """What goes on in the process of its own, which is forked."""

    def __init__(self, name: str, seed: int, folder: Path, defects: Path, board: _Board) -> None:
        self._name, self._seed, self._folder, self._defects, self._board = name, seed, folder, defects, board
        self._sources = inputs_of(name)
        self._resident = 0

    def run(self, n_inputs: int, corpus: Path | None) -> None:
        self._n_inputs = n_inputs
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # of codecs that an XML declaration may name
        with (self._folder / "words").open("w") as words:
            os.dup2(words.fileno(), 2)  # where libraries in C say what they die of
        faulthandler.enable(2)
        faulthandler.register(signal.SIGPROF, 2, chain=True)  # and then the process ends
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (_memory("VmData") + DATA_BYTES, hard))
        if corpus is not None:
            self._guided(corpus)
        first = self._board.outcome.inputs
        for number in range(first, n_inputs):
            rng = Random(self._seed << 32 | number)
            kept = number < len(self._sources)
            self._one(self._sources[number] if kept else self._mutated(rng.choice(self._sources), rng))

    def _mutated(self, data: bytes, rng: Random) -> bytes:
        for _ in range(rng.choice((1, 1, 1, 2))):
            data = DECODERS[self._name].mutate(data, rng, self._sources)
        return data

    def _one(self, data: bytes) -> None:
        outcome = self._board.outcome
        self._board.put(data)
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        try:
            traced = outcome.inputs % TRACED == 0 or outcome.inputs < len(self._sources)
            outcome.accepted += judge(self._name, data, self._folder, traced=traced)
        except Exception as error:
            places = [(place.filename, place.lineno) for place in traceback.extract_tb(error.__traceback__)]
            _keep(self._defects, self._name, data, traceback.format_exc(), f"{type(error)} {places[-1]}")
        outcome.inputs += 1
        if outcome.inputs == self._n_inputs // 4:
            self._resident = _memory("VmRSS")
        if outcome.inputs == self._n_inputs:
            outcome.growth = max(0, _memory("VmRSS") - self._resident) if self._resident else 0
            self._board.put(b"")
            os._exit(0)

    def _guided(self, corpus: Path) -> None:
        import atheris

        corpus.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(self._sources):
            (corpus / f"{self._name}-{number}").write_bytes(data)

        def mutate(data: bytes, max_size: int, seed: int) -> bytes:
            if seed % 4 == 0:
                return bytes(atheris.Mutate(data, max_size))
            return DECODERS[self._name].mutate(data, Random(seed), self._sources)[:max_size]

        longest = max(MAX_BYTES, *map(len, self._sources))
        options = [f"-max_len={longest}", f"-seed={self._seed % (1 << 31) + 1}", f"-artifact_prefix={self._folder}/"]
        options += ["-rss_limit_mb=0", "-malloc_limit_mb=0", "-len_control=0"]
        atheris.Setup(["fuzz", *options, str(corpus)], self._one, custom_mutator=mutate)
        atheris.Fuzz()


def _memory(field: str) -> int:
    """What /proc says of this process [bytes]."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field + ":"))
