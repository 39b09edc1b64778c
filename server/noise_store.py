"""Noise of measurements in files, so that later scans that name them find it, whichever process runs them."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from echotrain.mrd import Header, Noise, Text
from echotrain.mrd.errors import DataError, StorageError
from echotrain.mrd.noise import distinct_names

from .folder import SessionFolder, no_room
from .settings import Settings

OLDEST = 24 * 3600.0  # [s] that noise may be old for a scan whose header names none

_FACTS = ("dwell_us", "n_samples", "channel_bits", "coil_names", "measurement_id", "scanner", "time")


class NoiseStore:
    """A folder with one file for each measurement, which the owner alone may read.

    Files appear whole or not at all, and are named by a hash, so that an id from a stranger reaches nothing else.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, noise: Noise) -> None:
        """Keep noise by its measurement id, in the place of what was there; without one by scanner, coils and time.

        Raises:
            DataError: where neither is known, so that no later scan could find it.
            StorageError: where it cannot be written.
        """
        if not noise.measurement_id and not (noise.scanner and noise.coil_names):
            raise DataError(
                "the header has neither a measurementID nor the names of all coils and a station, device or "
                "institution; no later scan could find it without either"
            )
        facts = json.dumps({name: getattr(noise, name) for name in _FACTS})
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, partial = tempfile.mkstemp(dir=self.folder, suffix=".partial")
            try:
                with os.fdopen(handle, "wb") as file:
                    np.savez(file, covariance=noise.covariance, facts=np.array(facts))
                    file.flush()
                    os.fsync(file.fileno())
                Path(partial).replace(self._path(_key(noise)))
            finally:
                Path(partial).unlink(missing_ok=True)
        except OSError as error:
            raise no_room(error, self.folder) from error

    def find(self, measurement_id: str) -> Noise | None:
        """The noise of a measurement; its id may be anything that a stranger says.

        Raises:
            StorageError: where its file is damaged.
        """
        path = self._path(measurement_id)
        return self._used(_read(path)) if measurement_id and path.exists() else None

    def latest(self, scanner: str, coil_names: Sequence[str], now: float) -> Noise | None:
        """The newest noise of a scanner with at least these coils, measured in the 24 hours before `now`.

        Never any where the scanner or the name of a coil is not known. Files that are damaged are passed over.
        """
        names = distinct_names(coil_names, len(coil_names))
        if not (scanner and names):
            return None
        matching = (
            noise
            for noise in self.all(since=now - OLDEST)
            if isinstance(noise, Noise)
            and noise.scanner == scanner
            and set(names) <= set(noise.coil_names)
            and 0 <= now - noise.time <= OLDEST
        )
        newest = max(matching, key=lambda noise: noise.time, default=None)
        return newest and self._used(newest)

    def forget(self, before: float) -> Iterator[Path]:
        """Remove what was neither kept nor used since `before` [s since the epoch]; gives the files."""
        for path, used in self._files():
            if used < before:
                path.unlink(missing_ok=True)
                yield path

    def all(self, since: float = 0.0) -> Iterator[Noise | StorageError]:
        """All that was kept or used after `since` [s since the epoch], in this order; errors for damaged files."""
        for path, used in self._files():
            if used >= since:
                try:
                    yield _read(path)
                except StorageError as error:
                    yield error

    def measurement_ids(self) -> list[str]:
        """Those of all that is kept, in the order of `all`, without damaged files; each is read once after its use."""
        return [found for path, used in self._files() if (found := _measurement_id(path, used))]

    def _used(self, noise: Noise) -> Noise:
        """Noise that was found, and is kept longer for that."""
        with contextlib.suppress(OSError):  # it is of use all the same
            os.utime(self._path(_key(noise)))
        return noise

    def _files(self) -> list[tuple[Path, float]]:
        """Each file and when it was written or used last, oldest first."""
        found = []
        for path in self.folder.glob("*.npz"):
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                found.append((path, path.stat().st_mtime))
        return sorted(found, key=lambda file: file[1])

    def _path(self, key: str) -> Path:
        return self.folder / (hashlib.sha256(key.encode("utf-8", "backslashreplace")).hexdigest() + ".npz")


def _key(noise: Noise) -> str:
    """What the file is named by."""
    return noise.measurement_id or json.dumps([noise.scanner, noise.coil_names, noise.time])


def _read(path: Path) -> Noise:
    """The noise in a file.

    Raises:
        StorageError: where it is damaged.
    """
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            covariance, facts = file["covariance"], json.loads(str(file["facts"]))
        n_channels = len(covariance)
        facts["channel_bits"], facts["coil_names"] = tuple(facts["channel_bits"]), tuple(facts["coil_names"])
        if covariance.shape != (n_channels, n_channels) or covariance.dtype != np.complex128:
            raise ValueError("its covariance has another shape or type")
        return Noise(covariance, **{name: facts[name] for name in _FACTS})
    except Exception as error:  # bytes that changed can fail in any way
        raise StorageError(
            f"the file of kept noise {path} is damaged ({type(error).__name__}: {error}); "
            "send the noise scan again, or delete the file"
        ) from error


@functools.lru_cache(1 << 16)
def _measurement_id(path: Path, _used: float) -> str:
    try:
        return _read(path).measurement_id
    except StorageError:
        return ""


def noise_store(settings: Settings) -> NoiseStore:
    """Where a server with these settings keeps noise."""
    return NoiseStore(settings.noise or settings.sessions / "noise")


def scan_time(folder: SessionFolder) -> float:
    """When a session was opened first, so when its scan was, however often it runs [s since the epoch]."""
    return next((float(event["time"]) for event in folder.events()), time.time())


def noise_for(store: NoiseStore, folder: SessionFolder, header: Header) -> Iterator[Noise | Text]:
    """The noise that a session's scan depends on: that which its header names, or the latest of its scanner and coils.

    Nothing where there is none; words for the client where it cannot be read.
    """
    try:
        if header.noise_dependency:
            found = store.find(header.noise_dependency)
        else:
            found = store.latest(header.scanner, header.coil_names, scan_time(folder))
    except StorageError as error:
        yield Text(f"warning: Noise: {error.message}")
        return
    if found is not None:
        yield found
