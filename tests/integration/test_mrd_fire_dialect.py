"""Clients that speak FIRE's dialect: NULs counted, JSON after the header, waveforms first, levels before texts."""

import json
import struct

import numpy as np
import pytest
from mrd_clients import FireClient, Heard, lines_of

pytestmark = pytest.mark.usefixtures("bounded")

MINI_HEAD = "PFhQcm90b2NvbD4gCjxOYW1lPiAiSWNlTWluaUhlYWQiIAo="
META = {"Keep_image_geometry": "1", "IceMiniHead": MINI_HEAD, "DataRole": "Image", "ImageType": ["AVE", "NORM"]}


@pytest.fixture
def client(server):
    with FireClient(server.mrd) as connected:
        yield connected


@pytest.fixture
def scan(small_scan):
    return small_scan()


def parameters(client, **values):
    """The text after the header, as it is laid out in the interface's description."""
    return client.text(json.dumps({"version": "1.1.0", "parameters": values}, indent=4))


def chain(*gadgets):
    return f"<chain>{''.join(f'<gadget name={name!r}/>' for name in gadgets)}</chain>"


def meta_xml(meta):
    entries = (
        f"<meta><name>{name}</name>{''.join(f'<value>{value}</value>' for value in np.atleast_1d(values))}</meta>"
        for name, values in meta.items()
    )
    return f"<ismrmrdMeta>{''.join(entries)}</ismrmrdMeta>"


def test_a_scan_with_parameters_and_waveforms_gives_images(client, scan):
    client.send(client.config("rss"), client.header(scan.header), parameters(client, config="rss", customconfig=""))
    for number in range(3):
        client.send(client.waveform(np.arange(8).reshape(2, 4), waveform_id=number, time_stamp=number))
    client.send(*lines_of(client, scan), client.close())
    heard = client.hear()
    assert heard.closed
    assert [pixels.shape for _, pixels, _ in heard.images] == [(1, 1, 20, 24)] * 2
    assert [head.image_index for head, _, _ in heard.images] == [1, 2]
    assert all(len(meta["ImageRowDir"]) == len(meta["ImageColumnDir"]) == 3 for _, _, meta in heard.images)
    assert not [text for level, text in heard.texts if level in ("ERROR", "WARNING")]


@pytest.mark.parametrize("piece", [1, 2, 341, 4099])
def test_pieces_of_any_size_give_the_same(client, scan, piece):
    messages = [client.config("x"), client.header(scan.header), parameters(client, config="rss"), client.close()]
    messages[3:3] = lines_of(client, scan)
    client.send(*messages, chunks=(piece,))
    assert len(client.hear().images) == 2


def test_without_parameters_the_scan_begins_with_its_first_message(client, scan):
    client.send(client.config("rss"), client.header(scan.header), *lines_of(client, scan), client.close())
    assert len(client.hear().images) == 2


def test_a_header_alone_starts_the_session_after_a_while(client, scan):
    client.send(client.config("rss"), client.header(scan.header), client.close())
    heard = client.hear()
    assert heard.closed
    assert not heard.images


def test_the_configuration_in_the_json_wins(client, scan):
    client.send(client.config("not-there"), client.header(scan.header), parameters(client, config="count"))
    client.send(*lines_of(client, scan), client.close())
    heard = client.hear()
    assert not heard.images
    assert any("40 lines" in text for level, text in heard.texts if level == "INFO"), heard.texts


def test_the_custom_configuration_wins_over_both(client, scan):
    client.send(client.config("not-there"), client.header(scan.header))
    client.send(parameters(client, config="not-there-either", customconfig="rss"))
    client.send(*lines_of(client, scan), client.close())
    assert len(client.hear().images) == 2


def test_parameters_reach_the_gadget_that_has_them(client, scan):
    client.send(
        client.script(chain("RemoveOversampling", "CollectKSpace", "FourierTransform", "CombineCoils", "ToInteger"))
    )
    client.send(client.header(scan.header), parameters(client, maximum="7", options="", sendOriginal="False"))
    client.send(*lines_of(client, scan), client.close())
    heard = client.hear()
    assert {pixels.dtype for _, pixels, _ in heard.images} == {np.dtype(np.uint16)}
    assert max(pixels.max() for _, pixels, _ in heard.images) <= 7
    (warning,) = [text for level, text in heard.texts if level == "WARNING"]
    assert "sendOriginal='False'" in warning
    assert "options" not in warning


def test_parameters_of_one_gadget_are_told_like_others_where_none_has_them(client, scan):
    client.send(client.config("rss"), client.header(scan.header))
    names = {"send.original": "1", "CombineCoils.mehtod": "x", "CombineCoils.method": "rss"}
    client.send(parameters(client, **names), *lines_of(client, scan), client.close())
    heard = client.hear()
    assert len(heard.images) == 2
    (warning,) = [text for level, text in heard.texts if level == "WARNING"]
    assert "send.original='1', CombineCoils.mehtod='x'" in warning
    assert "CombineCoils.method" not in warning


def test_a_wrong_value_of_a_parameter_is_an_error_that_names_it(client, scan):
    client.send(
        client.script(chain("RemoveOversampling", "CollectKSpace", "FourierTransform", "CombineCoils", "ToInteger"))
    )
    client.send(client.header(scan.header), parameters(client, maximum="much"), *lines_of(client, scan), client.close())
    heard = client.hear()
    assert heard.closed
    assert any("maximum" in text and "'much'" in text for level, text in heard.texts if level == "ERROR"), heard.texts


def test_text_that_is_not_json_is_told_and_the_scan_goes_on(client, scan):
    client.send(client.config("rss"), client.header(scan.header), client.text("{nonsense"))
    client.send(*lines_of(client, scan), client.close())
    heard = client.hear()
    assert len(heard.images) == 2
    assert any("JSON" in text for level, text in heard.texts if level == "WARNING")


def test_openrecon_is_the_chain_that_the_server_was_started_with(running_server, tmp_path, scan):
    with running_server(tmp_path, "--openrecon", "rss") as server, FireClient(server.mrd) as client:
        client.send(client.config("openrecon"), client.header(scan.header), parameters(client, config="openrecon"))
        client.send(*lines_of(client, scan), client.close())
        assert len(client.hear().images) == 2


def test_openrecon_without_a_chain_for_it_says_how_to_give_one(client, scan):
    client.send(client.config("openrecon"), client.header(scan.header), parameters(client), client.close())
    heard = client.hear()
    assert heard.closed
    assert any("openrecon" in text for level, text in heard.texts if level == "ERROR"), heard.texts


@pytest.mark.parametrize("header", [None, "Dummy XML header"])
def test_images_in_are_images_out_with_all_that_they_carried(client, scan, header):
    client.send(client.script(chain("Negate")), client.header(header or scan.header))
    pixels = np.arange(24, dtype=np.int16).reshape(1, 1, 4, 6)
    for index in range(1, 4):
        client.send(client.image(index * pixels, meta_xml(META), image_index=index, image_series_index=2, slice=index))
    client.send(client.close())
    heard = client.hear()
    assert heard.closed
    assert [(head.image_index, head.image_series_index, head.slice) for head, _, _ in heard.images] == [
        (1, 2, 1),
        (2, 2, 2),
        (3, 2, 3),
    ]
    np.testing.assert_array_equal([data for _, data, _ in heard.images], [-n * pixels for n in range(1, 4)])
    for _, _, meta in heard.images:
        assert {name: meta[name] for name in META} == META


def test_images_without_directions_are_given_those_of_their_header(client, scan):
    client.send(client.script(chain("Negate")), client.header(scan.header))
    pixels = np.ones((1, 1, 3, 5), np.float32)
    client.send(client.image(pixels, read_dir=(0, 1, 0), phase_dir=(0, 0, -1)), client.close())
    ((_, _, meta),) = client.hear().images
    assert [float(cosine) for cosine in meta["ImageRowDir"]] == [0, 1, 0]
    assert [float(cosine) for cosine in meta["ImageColumnDir"]] == [0, 0, -1]


def test_images_come_while_more_are_sent(client, scan):
    client.send(client.script(chain("Negate")), client.header(scan.header), parameters(client, version="1"))
    heard = Heard()
    for index in range(1, 4):
        client.send(client.image(np.full((1, 1, 3, 5), index, np.float32), image_index=index))
        while len(heard.images) < index:
            (number,) = struct.unpack("<H", client.stream.read(2))
            client._take(number, heard)
    client.send(client.close())
    assert [data[0, 0, 0, 0] for _, data, _ in client.hear(heard).images] == [-1, -2, -3]


def test_a_client_that_closes_before_the_header_is_answered_with_close(client):
    client.send(client.script("openrecon"), client.close())
    assert client.hear().closed


def test_an_error_is_told_with_its_level_and_then_comes_close(client, scan):
    client.send(client.script("<chain>"), client.header(scan.header), *lines_of(client, scan), client.close())
    heard = client.hear()
    assert heard.closed
    ((level, text),) = heard.texts
    assert level == "ERROR"
    assert "not XML" in text
