"""What a server is told at its start."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .folder import default_sessions_folder
from .logs import Log
from .memory import default_bound
from .wire import DEFAULT_ADDRESS

DEFAULT_MRD_ADDRESS = "127.0.0.1:9002"
KEEP = ("all", "failed", "none")


@dataclass(frozen=True)
class Settings:
    """Places and bounds of one server."""

    bind: str = DEFAULT_ADDRESS
    sessions: Path = field(default_factory=default_sessions_folder)
    """Folder in which each session gets a folder of logs."""

    noise: Path | None = None
    """Folder in which noise is kept for later scans; `noise` in that of the sessions unless given."""

    mrd: str = DEFAULT_MRD_ADDRESS
    """Host and port of the MRD protocol over TCP; empty for none."""

    mrd_allow: Sequence[str] = ()
    """Addresses and networks that may come in at the MRD door; anybody who reaches it if there are none."""

    mrd_connections: int = 256
    """How many connections the MRD door has at once."""

    keys: Path | None = None
    """Folder of CURVE keys; without one, the native protocol goes unprotected."""

    insecure: bool = False
    """Whether doors may be open to other machines without anything that keeps strangers out."""

    sessions_per_client: int = 64
    """How many sessions of one client run at once; 0 for any number."""

    opens_per_minute: int = 600
    """How many sessions one client opens in a minute; 0 for any number."""

    session_bytes: int = 0
    """How much input a session may hold [bytes]; 0 for what the disk has room for."""

    openrecon: str = ""
    """The chain that stands for the configuration `openrecon`, the only one that OpenRecon names."""

    gadget_folders: Sequence[Path] = ()
    packages: Sequence[str] = ()
    config_folders: Sequence[Path] = ()

    warm_workers: int = 1
    """Workers that stand ready before a session asks for one."""

    input_window: int = 32 << 20
    """How far a client may send ahead of what is on disk [bytes]."""

    sync_interval: float | None = None
    """[s] between syncs of logs to disk; only what is synced is acknowledged, or sent. None leaves syncing to the
    system: what was acknowledged survives the end of any process, not of the machine."""

    reserve: int | None = None
    """Room on the disk [bytes] that input does not use up; 256 MiB or 1 % of the disk, whichever is less, if None."""

    output_window: int = 64 << 20
    """How much output may be under way to a client that has not acknowledged it [bytes]."""

    idle: float = 1800.0
    """How long a client may send nothing in the midst of a scan, and one of the MRD door take nothing [s]."""

    patience: float = 60.0
    """How long a session waits for a client that has gone [s]."""

    grace: float = 10.0
    """How long a server that is told to stop goes on with sessions whose input has ended [s]."""

    taken_up_at_once: int = field(default_factory=lambda: os.cpu_count() or 1)
    """How many sessions that a server before left unfinished run at once without a client."""

    keep: str = "all"
    """Which sessions that are over are kept, one of KEEP."""

    keep_days: float = math.inf
    """How long after its last event a session is kept, and noise after its last use [days]."""

    keep_bytes: float = math.inf
    """How large all sessions together may get before those go that have been over for longest [bytes]."""

    archive: Path | None = None
    """Folder in which a session is archived before it is removed; without one, it is removed for good."""

    log: Log | None = None
    """How the log is written, in processes of the server other than its first."""

    stuck: float = 600.0
    """How long a gadget may run without giving or taking anything [s], but for waits for a processor; 0 for ever."""

    memory: int = field(default_factory=default_bound)
    """Most memory that a session's processes may have [bytes]; 0 for no bound."""

    retries: int = 1
    """How often a session is run again whose worker died, hung, or took too much memory."""

    fallback: str = ""
    """The chain, a name or XML, that runs on a session's log where its own has failed; empty for none."""
