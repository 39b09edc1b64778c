"""Trials: one scan, faults of one kind at moments that a seed decides, and the count of what became of it."""

import contextlib
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace

import fault_client
from fault_client import FaultClient
from fault_damage import DAMAGES, damage
from fault_proxy import DOWN, UP
from fault_scans import SCANS, compared, fault_scan, images_of, n_lines_of, warnings_of
from fault_server import FaultServer, small_disk, wait_until

NETWORK = ("connection cut", "connection lost silently", "network stalled", "network delayed", "slow reader")
KILLS = ("worker killed", "server killed", "server stopped", "client killed")
DISK = "disk full"
OPTIONS = ("--reserve", "1", "--retries", "3")  # a small disk, and as many faults as a scan may have
ONE_SERVER = ("worker killed", "client killed", *NETWORK, "clock jumped", DISK)  # kinds that leave the server alone
KINDS = (*KILLS, *NETWORK, "clock jumped", DISK, *DAMAGES)
WEIGHTS = {"worker killed": 4, "client killed": 2, "server killed": 1.5, "connection cut": 4, "clock jumped": 2}


@dataclass(frozen=True)
class Plan:
    """All that is decided before a scan starts; the same for the same seed."""

    kind: str
    seed: int
    config: str
    moments: tuple
    """Pairs of "line" or "image" and its number."""


def plan(kind, seed):
    """A scan, and one to three moments in it."""
    chance = random.Random(f"{kind} {seed}")
    config = chance.choice(list(SCANS))
    n_lines = fault_scan(config).n_lines
    n_images = SCANS[config]["slices"] * SCANS[config]["repetitions"]
    count = 1 if kind in DAMAGES else chance.choice((1, 1, 2, 3))
    moments = []
    for _ in range(count):
        share = chance.random()
        moments.append(chance.choice([("line", 1 + int(share * n_lines)), ("image", 1 + int(share * n_images))]))
    if kind in DAMAGES:
        moments = [("line", 1 + int(chance.random() * (n_lines - 1)))]
    return Plan(kind, seed, config, tuple(sorted(moments, key=lambda moment: share_of(moment, n_lines, n_images))))


def share_of(moment, n_lines, n_images):
    return moment[1] / (n_lines if moment[0] == "line" else n_images)


def plans(seed, kinds=KINDS):
    """Plans without end, kinds in turn by their weights."""
    chance = random.Random(seed)
    while True:
        kind = chance.choices(kinds, [WEIGHTS.get(kind, 1) for kind in kinds])[0]
        yield plan(kind, chance.randrange(10**6))


@dataclass(frozen=True)
class Outcome:
    """What became of one scan."""

    plan: Plan
    faults: int
    lines_sent: int
    lines_held: int
    images_wanted: int
    images: int
    duplicates: int
    losses: int
    """Lines and images that are missing without a word."""
    differing: int
    ended_in_words: bool = False
    """Whether it ended with an error instead of all images."""
    told: tuple = ()
    """Errors, warnings and notices."""
    wrong: str = ""
    """What should not have been; nothing for a good end."""

    def __str__(self):
        moments = ", ".join(f"{what} {number}" for what, number in self.plan.moments)
        told = "; ".join(self.told)[:300]
        return (
            f"{self.plan.kind} [{self.plan.seed}] in {self.plan.config} at {moments}: lines {self.lines_held} of "
            f"{self.lines_sent}, images {self.images} of {self.images_wanted}, {self.duplicates} twice, "
            f"{self.losses} lost, {self.differing} differ; {told or 'nothing told'}"
            + (f"\n    WRONG: {self.wrong}" if self.wrong else "")
        )


@contextlib.contextmanager
def fault_server(folder):
    """A server for trials of all `kinds` that this machine allows."""
    with small_disk(folder / "disk") as disk, FaultServer(folder, *OPTIONS, sessions=disk) as server:
        server.kinds = [kind for kind in KINDS if disk or kind != DISK]
        yield server


class Reference(dict):
    """Images of undisturbed runs by configuration, made when they are first asked for."""

    def __init__(self, server, folder):
        self._server, self._folder = server, folder

    def __missing__(self, config):
        client = FaultClient(self._folder / f"undisturbed-{config}", self._server.address, fault_scan(config))
        client.run()
        assert client.done, client.error
        self[config] = images_of(client.received), warnings_of(client.received)
        return self[config]


def run_trial(plan, server, references, folder):
    """Run one scan with its faults through `server`, and say what became of it."""
    scan = fault_scan(plan.config)
    wanted, usual = references[plan.config]
    trial = Trial(plan, server, scan, folder)
    hung = ""
    try:
        trial.run()
    except (TimeoutError, AssertionError) as error:
        hung = f"{type(error).__name__}: {error}"
    held = b""
    with contextlib.suppress(OSError):
        held = (server.sessions / trial.client.session / "input.mrd").read_bytes()
    counted = compared(images_of(trial.client.received), wanted)
    told = [str(trial.client.error)] if trial.client.error else []
    told += [text for text in warnings_of(trial.client.received) if text not in usual] + trial.client.notices
    n_held = n_lines_of(held)
    losses = counted.losses + max(0, scan.n_lines - n_held)
    outcome = Outcome(
        plan, trial.faults, scan.n_lines, n_held, len(wanted), counted.received, counted.duplicates,
        0 if told and plan.kind in DAMAGES else losses, counted.differing, not trial.client.done, tuple(told),
    )  # fmt: skip
    outcome = replace(
        outcome, wrong=hung or fault_in(outcome, trial, counted, held == scan.stream + fault_client.CLOSE)
    )
    if not outcome.wrong and trial.client.session:
        shutil.rmtree(server.sessions / trial.client.session, ignore_errors=True)  # room for others
    return outcome


def fault_in(outcome, trial, counted, whole):
    """What is wrong with an outcome, in words, or nothing."""
    if not trial.server.lives:
        return "the server is gone"
    if "Traceback" in trial.server.told:
        return "the server made a mistake: " + trial.server.told[-3000:]
    if outcome.duplicates:
        return "images came twice"
    if outcome.losses:
        return "lines or images are lost"
    if outcome.plan.kind in DAMAGES:
        if trial.client.done and not outcome.told and outcome.images < outcome.images_wanted:
            return "images are missing without a word"
        return "" if outcome.told or DAMAGES[outcome.plan.kind].may_alter or not outcome.differing else "images differ"
    if trial.client.error:
        return f"it ended with {trial.client.error}"
    if not whole:
        return "the input log is not what was sent"
    if outcome.differing or not counted.in_order:
        return "images differ, or came out of order"
    return ""


class Trial:
    """One scan under way."""

    def __init__(self, plan, server, scan, folder):
        self.plan, self.server, self.scan = plan, server, scan
        self.faults = 0
        self._room = None
        self._left = list(plan.moments)
        self._chance = random.Random(f"details of {plan}")
        place = folder / f"{plan.kind.replace(' ', '-')}-{plan.seed}"
        self.client = FaultClient(place, server.address, scan, self._watch)

    def run(self):
        struck = self.server.proxy.struck
        try:
            if self.plan.kind == "client killed":
                self._run_clients()
            elif self.plan.kind in DAMAGES:
                self._run_damaged()
            else:
                self.client.run()
            self.faults += self.server.proxy.struck - struck
        finally:
            self.server.proxy.stall()
            self.server.proxy.delay = 0.0
            self.server.set_clock(0)
            if self._room:
                self._room.join()
            if not self.server.lives:
                self.server.start()

    def _watch(self, what, number):
        if self._due(what, number):
            self._inject()

    def _due(self, what, number):
        if not self._left or self._left[0][0] != what or number < self._left[0][1]:
            return False
        self._left.pop(0)
        return True

    def _inject(self):
        proxy, chance = self.server.proxy, self._chance
        self.faults += not self.plan.kind.startswith("connection")  # which are counted where they strike
        match self.plan.kind:
            case "worker killed":
                workers = self.server.workers(self.client.session)
                self.faults -= not workers  # it was over already
                for pid in workers:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            case "server killed":
                self.server.restart()
            case "server stopped":
                self.server.restart(signal.SIGTERM)
            case "connection cut":
                proxy.cut(after=chance.choice((0, chance.randrange(10000))), direction=chance.choice((UP, DOWN)))
            case "connection lost silently":
                after = chance.choice((0, chance.randrange(2000)))
                proxy.cut(after=after, direction=chance.choice((UP, DOWN)), silently=True)
            case "network stalled":
                proxy.stall(*chance.choice(((UP,), (DOWN,), (UP, DOWN))))
                time.sleep(chance.uniform(0.05, 1.0))
                proxy.stall()
            case "network delayed":
                proxy.delay = chance.uniform(0.001, 0.05)
            case "slow reader":
                self.client.linger = chance.uniform(0.01, 0.2)
            case "disk full":
                self.server.fill_disk()
                self._room = threading.Timer(chance.uniform(0.1, 1.5), self.server.free_disk)
                self._room.start()
            case "clock jumped":
                self.server.set_clock(chance.choice((-1, 1)) * chance.choice((1, 3600, 86400 * 365 * 30)))

    def _run_clients(self):
        """Each a process; the one that is killed is followed by another with what that had kept."""
        (self.client.folder / "scan").write_bytes(pickle.dumps(self.scan))
        command = [sys.executable, fault_client.__file__, str(self.client.folder), self.server.address]
        ends = ""
        while not ends:
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                try:
                    for line in process.stdout:
                        what, _, number = line.strip().partition(" ")
                        if what == "over":
                            ends = number
                        elif self._due(what, int(number)):
                            self.faults += 1
                            process.kill()
                            break
                    else:
                        assert ends, "the client ended without a word"
                finally:
                    process.kill()
        self.client.error = None if ends == "well" else ends
        self.client.done = ends == "well"

    def _run_damaged(self):
        """Part in the midst of the scan, damage a file of it, and come back; half the time to another server."""
        self.client.part(self._left.pop()[1])
        session = self.server.sessions / self.client.session
        restarted = self._chance.random() < 0.25
        if restarted:
            self.server.stop(signal.SIGKILL)
        else:
            self._settled(session)
        self.faults += damage(session, DAMAGES[self.plan.kind], self._chance)
        if restarted:
            self.server.start()
        self.client._until = None
        self.client.run()

    def _settled(self, session):
        wait_until(lambda: '"left"' in (session / "events.jsonl").read_text() and not self.server.workers(session.name))
