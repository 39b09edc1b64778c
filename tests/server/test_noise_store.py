"""Kept noise: found again by whoever may, in files that a stranger's id, a crash or a flipped bit does not get past."""

import os
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ismrmrd import Meta

from echotrain.mrd import Header, Noise, Text
from echotrain.mrd.errors import DataError, StorageError
from echotrain.server.folder import create_session
from echotrain.server.noise_questions import answer_config, noise_names, noise_summary
from echotrain.server.noise_store import NoiseStore, noise_for, noise_store, scan_time
from echotrain.server.session_noise import SessionNoise
from echotrain.server.settings import Settings

NOW = time.time()
SCANNER = "Vendor / Model / Room 5"
ODD_IDS = ["../../x", "/etc/passwd", "a\0b", "", ".", "..", "\ud800", "\u00e9 \n", "a" * 10_000]


@pytest.fixture
def store(tmp_path):
    return NoiseStore(tmp_path / "kept" / "noise")


@pytest.fixture
def folder(tmp_path):
    session = create_session(tmp_path / "sessions", {}, b"")
    session.write_event("opened")
    return session


def some_noise(**facts):
    rng = np.random.default_rng(5)
    mixing = rng.standard_normal((3, 3)) + 1j * rng.standard_normal((3, 3)) + 2 * np.eye(3)
    described = {"channel_bits": (2, 5, 9), "coil_names": ("B", "A", "C \u00e9"), "measurement_id": "7_3"}
    described |= {"scanner": SCANNER, "time": NOW - 200, "dwell_us": 7.6, "n_samples": 1234}
    return Noise(**{"covariance": mixing @ mixing.conj().T, **described, **facts})


def only_file(store):
    (path,) = store.folder.iterdir()
    return path


def test_noise_is_found_by_its_measurement_id_bit_for_bit(store):
    kept = some_noise()
    store.keep(kept)
    found = NoiseStore(store.folder).find("7_3")
    np.testing.assert_array_equal(found.covariance, kept.covariance)
    assert found.covariance.dtype == np.complex128
    assert replace(found, covariance=None).__repr__() == replace(kept, covariance=None).__repr__()
    assert store.find("7_4") is None


def test_later_noise_of_a_measurement_takes_the_place_of_the_earlier(store):
    store.keep(some_noise(n_samples=5))
    store.keep(some_noise(n_samples=6))
    assert store.find("7_3").n_samples == 6
    assert [noise.n_samples for noise in store.all()] == [6]


@pytest.mark.parametrize("odd", ODD_IDS)
def test_an_id_from_a_stranger_reaches_nothing_outside_the_folder(tmp_path, store, odd):
    (tmp_path / "x.npz").write_bytes(b"something else")
    assert store.find(odd) is None
    before = set(tmp_path.rglob("*"))
    store.keep(some_noise(measurement_id=odd))
    assert (set(tmp_path.rglob("*")) - before) == {store.folder.parent, store.folder, only_file(store)}
    assert re.fullmatch(r"[0-9a-f]{64}\.npz", only_file(store).name)
    if odd:
        assert store.find(odd).measurement_id == odd
    else:
        assert store.find(odd) is None


def test_only_the_owner_may_read(store):
    store.keep(some_noise())
    assert store.folder.stat().st_mode & 0o777 == 0o700
    assert only_file(store).stat().st_mode & 0o777 == 0o600


def test_a_write_that_fails_leaves_what_was_there(store, monkeypatch):
    store.keep(some_noise(n_samples=5))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        store.keep(some_noise(n_samples=6))
    assert only_file(store)
    assert store.find("7_3").n_samples == 5


def test_every_damage_to_a_file_is_noticed(store):
    store.keep(some_noise())
    path = only_file(store)
    whole = path.read_bytes()
    renamed = "dwell_us".encode("utf-32-le"), "dwell_xx".encode("utf-32-le")
    data = whole.index(some_noise().covariance.tobytes())
    for damaged in (b"", whole[:-1], whole[: len(whole) // 2], b"junk", whole.replace(*renamed)):
        path.write_bytes(damaged)
        with pytest.raises(StorageError, match=r"damaged.*send the noise scan again"):
            store.find("7_3")
    for place in range(data, data + 144, 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(StorageError, match="damaged"):
            store.find("7_3")


def test_a_file_without_the_right_contents_is_damaged(store):
    store.keep(some_noise())
    np.savez(only_file(store), covariance=np.eye(3), facts=np.array("{}"))
    with pytest.raises(StorageError, match="damaged"):
        store.find("7_3")
    store.keep(some_noise(covariance=some_noise().covariance[:2]))
    with pytest.raises(StorageError, match="another shape"):
        store.find("7_3")


def test_a_damaged_file_hides_no_other(store):
    store.keep(some_noise())
    only_file(store).write_bytes(b"junk")
    store.keep(some_noise(measurement_id="7_5"))
    assert sorted(type(noise).__name__ for noise in store.all()) == ["Noise", "StorageError"]
    assert store.latest(SCANNER, ["A"], NOW).measurement_id == "7_5"


def test_the_latest_noise_of_a_scanner_with_at_least_the_coils_is_found(store):
    for name, age in (("old", 300), ("new", 100), ("future", -100)):
        store.keep(some_noise(measurement_id=name, time=NOW - age))
    store.keep(some_noise(measurement_id="", time=NOW - 200))
    store.keep(some_noise(measurement_id="elsewhere", scanner="Room 6", time=NOW))
    store.keep(some_noise(measurement_id="other coils", coil_names=("A", "B", "D"), time=NOW))
    assert store.latest(SCANNER, ["C \u00e9", "A"], NOW).measurement_id == "new"
    assert store.latest(SCANNER, ["A"], NOW - 150).measurement_id == ""
    assert store.latest(SCANNER, ["A", "D", "C \u00e9"], NOW) is None


def test_noise_of_a_day_ago_is_too_old_for_a_scan_that_names_none(store):
    store.keep(some_noise(time=NOW - 24 * 3600 + 60))
    assert store.latest(SCANNER, ["A"], NOW).measurement_id == "7_3"
    assert store.latest(SCANNER, ["A"], NOW + 61) is None
    assert store.find("7_3").measurement_id == "7_3"


@pytest.mark.parametrize(
    ("scanner", "names"), [("", ("A", "B")), (SCANNER, ()), (SCANNER, ("A", "")), (SCANNER, ("A", "A"))]
)
def test_what_is_not_known_is_never_taken_for_the_same(store, scanner, names):
    store.keep(some_noise(scanner=scanner, coil_names=names))
    assert store.latest(scanner, names, NOW) is None


@pytest.mark.parametrize("unknown", [{"scanner": ""}, {"coil_names": ()}])
def test_noise_that_no_later_scan_could_find_is_refused(store, unknown):
    with pytest.raises(DataError, match="neither a measurementID nor"):
        store.keep(some_noise(measurement_id="", **unknown))
    assert list(store.all()) == []


def test_the_store_is_among_the_sessions_unless_told_otherwise(tmp_path):
    assert noise_store(Settings(sessions=tmp_path)).folder == tmp_path / "noise"
    assert noise_store(Settings(sessions=tmp_path, noise=tmp_path / "n")).folder == tmp_path / "n"


# -- a session's noise ------------------------------------------------------------------------------------------------


def naming(noise_id):
    return Header(b"", dependencies={"Noise": noise_id}, scanner=SCANNER, coil_names=("A", "B"))


def test_a_scan_gets_the_noise_that_it_names_and_no_other(store, folder):
    store.keep(some_noise(measurement_id="7_4"))
    assert list(noise_for(store, folder, naming("7_3"))) == []
    (found,) = noise_for(store, folder, naming("7_4"))
    assert found.measurement_id == "7_4"
    (found,) = noise_for(store, folder, replace(naming(""), dependencies={"SenMap": "1"}))
    assert found.measurement_id == "7_4"


def test_noise_that_is_damaged_is_told_and_counts_as_absent(store, folder):
    store.keep(some_noise())
    only_file(store).write_bytes(b"junk")
    (text,) = noise_for(store, folder, naming("7_3"))
    assert isinstance(text, Text)
    assert "damaged" in text.text


class TakesNoise:
    accepts = (Noise,)


class TakesNone:
    accepts = (Text,)


def test_what_is_found_and_kept_is_noted(store, folder):
    noise = SessionNoise(store, folder, naming("7_2"))
    store.keep(some_noise(measurement_id="7_2", time=time.time() - 200))
    (found,) = noise.found([TakesNone(), TakesNoise()])
    assert noise.keep(found) is None
    assert noise.keep(some_noise()) is None
    assert store.find("7_3").time == scan_time(folder) == next(folder.events())["time"]
    _, before, after = folder.events()
    assert (before["event"], before["id"], before["age"]) == ("noise", "7_2", "3 min")
    assert (after["event"], after["id"], after["samples"], after["channels"]) == ("noise kept", "7_3", 1234, 3)


def test_a_chain_that_takes_no_noise_is_given_none(store, folder):
    store.keep(some_noise())
    assert list(SessionNoise(store, folder, naming("7_3")).found([TakesNone()])) == []
    assert [event["event"] for event in folder.events()] == ["opened"]


def test_noise_that_cannot_be_kept_is_told_and_noted(store, folder):
    told = SessionNoise(store, folder, naming("")).keep(some_noise(measurement_id="", scanner=""))
    assert told.text.startswith("warning: Noise: not kept for later scans: the header has neither")
    assert [event["event"] for event in folder.events()] == ["opened", "noise not kept"]


# -- how long it is kept -----------------------------------------------------------------------------------------------


def test_noise_that_was_neither_kept_nor_used_for_long_is_forgotten(store):
    for name, age in (("unused", 70), ("named", 60), ("latest", 50)):
        store.keep(some_noise(measurement_id=name, time=NOW - age))
    for path in store.folder.iterdir():
        os.utime(path, (NOW - 5000, NOW - 5000))
    assert list(store.forget(NOW - 5001)) == []
    store.find("named")
    assert list(store.forget(NOW - 4000)) == [store._path("unused"), store._path("latest")]
    assert store.measurement_ids() == ["named"]


def test_noise_that_was_found_by_its_coils_is_used(store):
    store.keep(some_noise(time=NOW))
    os.utime(only_file(store), (NOW - 5000, NOW - 5000))
    assert store.latest(SCANNER, some_noise().coil_names, NOW)
    assert list(store.forget(NOW - 2000)) == []


# -- Gadgetron's questions --------------------------------------------------------------------------------------------


def test_gadgetron_s_clients_are_told_all_that_is_kept(store):
    assert Meta.deserialize(noise_names(store).meta)["NoiseDependencies"] == "Dummy"
    for name in ("7_3", "7_5"):
        store.keep(some_noise(measurement_id=name))
    store.keep(some_noise(measurement_id=""))
    names = Meta.deserialize(noise_names(store).meta)["NoiseDependencies"]
    assert sorted(names) == ["GadgetronNoiseCovarianceMatrix_7_3", "GadgetronNoiseCovarianceMatrix_7_5"]


def test_files_are_read_once_however_often_clients_ask(store, monkeypatch):
    for name in ("7_3", "7_5"):
        store.keep(some_noise(measurement_id=name))
    (store.folder / "junk.npz").write_bytes(b"junk")
    first = noise_names(store)
    monkeypatch.setattr(np, "load", None)
    assert noise_names(store) == first
    monkeypatch.undo()
    store.keep(some_noise(measurement_id="7_6"))
    assert "_7_6" in noise_names(store).meta


def test_a_file_that_is_deleted_while_all_are_listed_is_passed_over(store, monkeypatch):
    store.keep(some_noise(measurement_id="7_3"))
    gone = store.folder / "gone.npz"
    monkeypatch.setattr(Path, "glob", lambda folder, _: [gone, only_file(store)])
    assert store.measurement_ids() == ["7_3"]


def test_gadgetron_s_clients_are_told_what_one_measurement_s_noise_is(store):
    kept = some_noise()
    store.keep(kept)
    meta = Meta.deserialize(noise_summary(store, "GadgetronNoiseCovarianceMatrix_7_3").meta)
    assert (meta["status"], meta["channels"], float(meta["noise_dwell_time_us"])) == ("success", "3", 7.6)
    deviations = np.sqrt(np.diag(kept.covariance).real)
    wanted = [deviations.min(), deviations.mean(), deviations.max()]
    np.testing.assert_allclose([float(meta[f"{name}_sigma"]) for name in ("min", "mean", "max")], wanted)
    assert noise_summary(store, "7_3") == noise_summary(store, "GadgetronNoiseCovarianceMatrix_7_3")
    assert Meta.deserialize(noise_summary(store, "7_4").meta)["status"] == "failed"
    only_file(store).write_bytes(b"junk")
    assert Meta.deserialize(noise_summary(store, "7_3").meta)["status"] == "failed"


LEGACY = """<gadgetronStreamConfiguration><writer><slot>1019</slot></writer><gadget><name>x</name><dll>y</dll>
<classname>{}</classname><property><name>noise_file</name><value>GadgetronNoiseCovarianceMatrix_7_3</value></property>
</gadget></gadgetronStreamConfiguration>"""


def test_a_configuration_that_only_asks_is_answered_and_others_are_not(store):
    store.keep(some_noise(measurement_id="7_3"))
    assert answer_config(store, LEGACY.format("NoiseSummaryGadget")) == noise_summary(store, "7_3")
    for asks in ("gtquery", "gtquery.xml", LEGACY.format("DependencyQueryGadget")):
        assert answer_config(store, asks) == noise_names(store)
    for config in ("default.xml", "", LEGACY.format("NoiseAdjustGadget"), "<broken", "<chain/>"):
        assert answer_config(store, config) is None
