"""Clients that speak as Gadgetron's own does: whole recorded sessions, and what such a client may do besides."""

import struct
import threading

import h5py
import ismrmrd
import numpy as np
import pytest
from ismrmrd.serialization import ConfigFile, ProtocolDeserializer, ProtocolSerializer
from ismrmrd.serialization import ConfigText as TheirConfigText
from mrd_clients import GadgetronClient, Heard, lines_of

from echotrain.clients.client import open_scan
from echotrain.mrd import Image

pytestmark = pytest.mark.usefixtures("bounded")

CHUNKS = [(), (1, 2, 3, 1021, 4097), (65_536,), (1447,)]
RSS = '<chain><gadget name="RemoveOversampling"/><gadget name="CollectKSpace"/><gadget name="FourierTransform"/>'
RSS += '<gadget name="CombineCoils"/></chain>'


@pytest.fixture
def client(server):
    with GadgetronClient(server.mrd) as connected:
        yield connected


@pytest.fixture
def recorded(data_folder):
    """What a client sent, the images that it stored (image, channel, z, y, x), and the bytes of them."""

    def read(name):
        sent = (data_folder / "recordings" / f"{name}.client_to_server.bin").read_bytes()
        with h5py.File(data_folder / "recordings" / f"{name}.out.h5") as file:
            (series,) = file["out"].values()
            return sent, series["data"][:]

    return read


def assert_alike(images, expected, tolerance):
    """Images are within a part of the largest pixel, in the same units."""
    found = np.stack([pixels for _, pixels, _ in images])
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    assert np.abs(found.astype(float) - expected).max() <= tolerance * expected.max()


def pixels_of_native_client(server, scan):
    with open_scan("rss", scan.header, server=server.address) as opened:
        for batch in scan.batches:
            opened.send(batch)
        opened.end()
        return [item.data for item in opened.items() if isinstance(item, Image)]


@pytest.mark.parametrize("chunks", CHUNKS)
def test_a_recorded_session_gives_the_recorded_images(client, recorded, chunks):
    sent, images = recorded("default_m64_c4_r2")
    client.send(sent, chunks=chunks)
    heard = client.hear()
    assert heard.closed
    assert not [text for text in heard.texts if "error" in text]
    assert_alike(heard.images, images, 1e-6)
    assert [(head.repetition, head.image_index, head.image_series_index) for head, _, _ in heard.images] == [
        (0, 1, 0),
        (1, 2, 0),
    ]


@pytest.mark.parametrize("name", ["grappa_m64_c4_a2_r4", "script_m64_c4_a2_r4"])
def test_recorded_sessions_with_grappa_give_nearly_the_recorded_images(client, recorded, name):
    """Where the calibration is of another method in details: pixels of 300 differ by 15 at most, by 2 on average."""
    sent, images = recorded(name)
    client.send(sent, chunks=(4099,))
    heard = client.hear()
    assert heard.closed
    assert not [text for text in heard.texts if "error" in text]
    assert_alike(heard.images, images, 0.06)
    found = np.stack([pixels for _, pixels, _ in heard.images]).astype(float)
    assert np.vdot(found, images) / np.vdot(found, found) == pytest.approx(1, abs=0.01)
    assert [(head.repetition, head.image_index, head.image_series_index) for head, _, _ in heard.images] == [
        (n, n + 1, 1) for n in range(4)
    ]


def test_recorded_questions_are_answered_and_the_connection_ends(client, data_folder):
    client.send((data_folder / "recordings" / "query_info.client_to_server.bin").read_bytes())
    heard = client.hear()
    assert heard.closed
    assert "Version" in heard.responses[0]
    assert not heard.texts


@pytest.mark.parametrize("chunks", [(), (1,)])
def test_a_scan_gives_the_same_pixels_as_on_the_native_door(server, client, small_scan, chunks):
    scan = small_scan()
    client.send(
        client.config("rss"), client.header(scan.header), *lines_of(client, scan), client.close(), chunks=chunks
    )
    heard = client.hear()
    np.testing.assert_array_equal([pixels for _, pixels, _ in heard.images], pixels_of_native_client(server, scan))


def test_a_configuration_may_be_sent_as_text(client, server, small_scan):
    scan = small_scan()
    client.send(client.script(RSS), client.header(scan.header), *lines_of(client, scan), client.close())
    heard = client.hear()
    np.testing.assert_array_equal([pixels for _, pixels, _ in heard.images], pixels_of_native_client(server, scan))


def test_an_image_comes_while_the_scan_still_runs(client, small_scan):
    scan = small_scan(repetitions=2)
    n_lines = sum(map(len, scan.batches))
    client.send(client.config("rss"), client.header(scan.header), *lines_of(client, scan)[: n_lines // 2 + 1])
    heard = Heard()
    while len(heard.images) < 2:
        (number,) = struct.unpack("<H", client.stream.read(2))
        client._take(number, heard)
    client.send(*lines_of(client, scan)[n_lines // 2 + 1 :], client.close())
    assert len(client.hear(heard).images) == 4
    assert [head.repetition for head, _, _ in heard.images] == [0, 0, 1, 1]


def test_texts_and_waveforms_among_the_lines_disturb_nothing(client, small_scan):
    scan = small_scan()
    lines = lines_of(client, scan)
    waveform = client.waveform(np.arange(10).reshape(2, 5), waveform_id=1, time_stamp=3)
    client.send(client.config("rss"), client.header(scan.header), waveform, *lines[:17])
    client.send(client.text("the patient moved"), waveform, *lines[17:], waveform, client.close())
    heard = client.hear()
    assert len(heard.images) == 2
    assert not [text for text in heard.texts if "error" in text]


def test_questions_are_answered_at_any_time(client, small_scan):
    scan = small_scan()
    client.send(client.query("ismrmrd::version", 7), client.config("rss"), client.query("gadgetron::version", 8))
    client.send(client.header(scan.header), *lines_of(client, scan)[:9], client.query("nobody::knows", 9))
    client.send(*lines_of(client, scan)[9:], client.query("gadgetron::info::matlab", 1 << 63))
    client.send(client.close())
    heard = client.hear()
    assert heard.responses[7] == ismrmrd.__version__
    assert heard.responses[8].startswith("4.")
    assert "Unknown query" in heard.responses[9]
    assert 1 << 63 in heard.responses
    assert len(heard.images) == 2


@pytest.mark.parametrize("after", ["nothing", "config"])
def test_a_client_that_closes_before_a_header_is_answered_with_close(client, after):
    client.send(client.config("rss") if after == "config" else b"", client.close())
    heard = client.hear()
    assert heard.closed
    assert not heard.images


def test_a_scan_without_lines_ends_well(client, small_scan):
    client.send(client.config("rss"), client.header(small_scan().header), client.close())
    heard = client.hear()
    assert heard.closed
    assert not heard.images


def test_images_go_through_a_chain_of_images(client, small_scan):
    pixels = np.arange(30, dtype=np.float32).reshape(1, 1, 5, 6)
    client.send(client.script('<chain><gadget name="Negate"/></chain>'), client.header(small_scan().header))
    for index in (4, 9):
        meta = f"<ismrmrdMeta><meta><name>Tag</name><value>{index}</value></meta></ismrmrdMeta>"
        client.send(client.image(index * pixels, meta, image_index=index, image_series_index=3))
    client.send(client.close())
    heard = client.hear()
    assert [(head.image_index, head.image_series_index, meta["Tag"]) for head, _, meta in heard.images] == [
        (4, 3, "4"),
        (9, 3, "9"),
    ]
    np.testing.assert_array_equal([data for _, data, _ in heard.images], [-4 * pixels, -9 * pixels])


def test_lines_through_a_chain_of_images_are_told_and_not_sent_back(client, small_scan):
    scan = small_scan()
    messages = lines_of(client, scan)
    client.send(client.config("stream_complex_to_float.xml"), client.header(scan.header), *messages, client.close())
    heard = client.hear()
    assert heard.closed
    assert any(f"no gadget of the chain takes lines; {len(messages)} were left out" in text for text in heard.texts)


def test_many_clients_at_once_get_their_own_images(server, small_scan):
    scans = [small_scan(seed=seed) for seed in range(4)]
    heard = {}

    def run(number):
        with GadgetronClient(server.mrd) as client:
            client.send(client.config("rss"), client.header(scans[number].header))
            client.send(*lines_of(client, scans[number]), client.close(), chunks=(1000 + 333 * number,))
            heard[number] = client.hear()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, scan in enumerate(scans):
        np.testing.assert_array_equal(
            [pixels for _, pixels, _ in heard[number].images], pixels_of_native_client(server, scan)
        )


@pytest.mark.parametrize("config", [ConfigFile("rss"), TheirConfigText(RSS)])
def test_the_ismrmrd_package_is_a_client(client, server, small_scan, config):
    scan = small_scan()
    with client.socket.makefile("wb") as stream, ProtocolSerializer(stream) as serializer:
        serializer.serialize(config)
        serializer.serialize(ismrmrd.xsd.CreateFromDocument(scan.header))
        for batch in scan.batches:
            for head, data in zip(batch.head, batch.data, strict=True):
                line = ismrmrd.Acquisition(ismrmrd.AcquisitionHeader.from_buffer_copy(head.tobytes()))
                line.data[:] = data
                serializer.serialize(line)
    received = list(ProtocolDeserializer(client.stream).deserialize())
    assert not client.stream.read()
    images = [item for item in received if isinstance(item, ismrmrd.Image)]
    np.testing.assert_array_equal([image.data for image in images], pixels_of_native_client(server, scan))


@pytest.mark.parametrize("method", ["zfp", "nhlbi"])
def test_lines_may_come_compressed(client, server, small_scan, method):
    scan = small_scan()
    compressed = pytest.importorskip("zfpy").compress_numpy if method == "zfp" else nhlbi
    client.send(client.config("rss"), client.header(scan.header))
    for batch in scan.batches:
        for head, data in zip(batch.head.copy(), batch.data, strict=True):
            head["flags"] |= np.uint64(1 << (52 if method == "zfp" else 53))
            payload = compressed(np.ascontiguousarray(data).view(np.float32))
            client.send(struct.pack("<H", 1008) + bytes(head) + struct.pack("<I", len(payload)) + payload)
    client.send(client.close())
    expected = np.stack(pixels_of_native_client(server, scan))
    assert_alike(client.hear().images, expected, 1e-6 if method == "zfp" else 1e-3)


def nhlbi(parts):
    """Integers of 16 bits, with what multiplied them."""
    scale = np.float32(32767 / np.abs(parts).max())
    return (
        struct.pack("<QfB", parts.size, scale, 16) + np.round(parts * scale).clip(-32768, 32767).astype("<i2").tobytes()
    )
