"""What fuzzing begins with: small valid inputs of each decoder."""

import json
import struct
import tempfile
from importlib import resources
from pathlib import Path

import h5py
import numpy as np
from gadgetron_texts import gadget, legacy, reader, version_2

from echotrain.clients.simulate import Scan, simulate
from echotrain.mrd import (
    Acquisitions,
    Array,
    Close,
    ConfigName,
    ConfigText,
    DependencyQuery,
    Dicom,
    ErrorText,
    HeaderText,
    Image,
    ImageWriter,
    Noise,
    Query,
    Response,
    Text,
    Waveforms,
    acquisition_headers,
    encode,
)
from echotrain.mrd.flags import Flag
from echotrain.mrd.hdf5 import ACQUISITION_ROW, WAVEFORM_ROW
from echotrain.mrd.hdf5_write import write_header
from echotrain.mrd.meta import meta_xml
from echotrain.mrd.records import WAVEFORM_HEADER
from echotrain.server import wire
from echotrain.server.noise_store import NoiseStore

_META = {"DataRole": "Image", "Comment": ["a", "b <&> \u00e9"], "Width": 3}


def headers() -> list[bytes]:
    header, _ = simulate(Scan(matrix=(8, 6), coils=2, slices=2, acceleration=2, calibration=4))
    more = (
        b"<ismrmrdHeader><measurementInformation><measurementID>7_3</measurementID><measurementDependency>"
        b"<dependencyType>Noise</dependencyType><measurementID>7_2</measurementID></measurementDependency>"
        b"</measurementInformation><acquisitionSystemInformation><systemVendor>v</systemVendor>"
        b"<deviceID>5</deviceID><relativeReceiverNoiseBandwidth>0.79</relativeReceiverNoiseBandwidth><coilLabel>"
        b"<coilNumber>0</coilNumber><coilName>A</coilName></coilLabel></acquisitionSystemInformation>"
        b"<sequenceParameters><TR>4.6</TR><TE>2.3</TE><TI>300</TI></sequenceParameters></ismrmrdHeader>"
    )
    return [header if isinstance(header, bytes) else header.encode(), more, b"<ismrmrdHeader/>"]


def _lines(n_lines: int, n_channels: int, n_samples: int, n_dims: int = 0) -> Acquisitions:
    rng = np.random.default_rng(n_lines)
    head = acquisition_headers(n_lines, n_channels, n_samples)
    head["trajectory_dimensions"] = n_dims
    data = rng.standard_normal((n_lines, n_channels, n_samples, 2)).astype(np.float32).view(np.complex64)[..., 0]
    return Acquisitions(head, data, np.ones((n_lines, n_samples, n_dims), np.float32) if n_dims else None)


def _waveforms() -> Waveforms:
    head = np.zeros(2, WAVEFORM_HEADER)
    head["channels"], head["number_of_samples"] = 2, 5
    return Waveforms(head, np.arange(20, dtype=np.uint32).reshape(2, 2, 5))


def _image() -> Image:
    return Image(np.arange(24, dtype=np.uint16).reshape(1, 2, 3, 4), meta=_META)


def _payloads(n_channels: int, n_samples: int) -> dict[Flag, bytes]:
    """A line's samples by how they are compressed; without zfpy there is no ZFP."""
    numbers = 2 * n_channels * n_samples
    found = {Flag.COMPRESSION2: struct.pack("<QfB", numbers, 3.5, 8) + bytes(range(numbers))}
    try:
        import zfpy
    except ImportError:
        return found
    values = _lines(1, n_channels, n_samples).data[0].view(np.float32)
    return {**found, Flag.COMPRESSION1: zfpy.compress_numpy(values, tolerance=0.01)}


def _compressed() -> list[bytes]:
    records = []
    for flag, payload in _payloads(3, 5).items():
        head = acquisition_headers(1, 3, 5)
        head["flags"] = int(flag)
        records.append(struct.pack("<H", 1008) + head.tobytes() + struct.pack("<I", len(payload)) + payload)
    return records


def _stream(*items: object) -> bytes:
    return b"".join(bytes(encode(item)) for item in items)


def streams() -> list[bytes]:
    texts = [Text("a"), ErrorText("b"), Query(7, "c"), Response(7, "d"), DependencyQuery("<e/>"), Dicom(b"f", "g", "h")]
    array = Array(np.arange(6, dtype=np.float64).reshape(2, 3))
    return [
        _stream(HeaderText(b"<ismrmrdHeader/>"), _lines(3, 2, 5), _waveforms(), _lines(2, 1, 3, 2), Close()),
        _stream(ConfigName("default.xml"), ConfigText("<chain/>"), *texts, Close()),
        _stream(_image(), array, Image(np.ones((2, 1, 1, 3), np.complex64))),
        b"".join(_compressed()) + _stream(_lines(1, 3, 5), Close()),
    ]


def compressed() -> list[bytes]:
    """Which method, channels and samples less one, then the payload."""
    return [
        struct.pack("<BHH", flag == Flag.COMPRESSION2, n_channels - 1, n_samples - 1) + payload
        for n_channels, n_samples in ((3, 5), (1, 8), (6, 1))
        for flag, payload in _payloads(n_channels, n_samples).items()
    ]


def openings() -> list[bytes]:
    header = b"<ismrmrdHeader/>\0"
    values = {"config": "fft", "customconfig": "", "a": True, "b": [1, 2], "c": {"d": 1}}
    parameters = json.dumps({"parameters": values})
    counted = [
        struct.pack("<HI", number, len(text)) + text
        for number, text in ((2, b"openrecon\0"), (3, header), (5, parameters.encode() + b"\0"))
    ]
    line = _stream(_lines(1, 1, 2))
    return [
        _stream(ConfigName("default.xml"), HeaderText(b"<ismrmrdHeader/>")) + line,
        b"".join(counted) + line,
        _stream(Query(1, "ismrmrd::server::version"), Query(2, "x"), Close()),
        _stream(ConfigName("gtquery"), Text("note"), Close()),
        _stream(ConfigText(legacy(gadget("NoiseSummaryGadget", noise_file="a"))), Close()),
    ]


def envelopes() -> list[bytes]:
    name = "20260101-000000-0123abcd"
    messages = [
        wire.Open("fft", b"<ismrmrdHeader/>", {"Grappa.kernel": "5 4"}, "label", name, 7),
        wire.Data(name, 5, 2),
        wire.End(name, 1 << 40),
        wire.Abort(name),
        wire.Ack(name, 3),
        wire.Opened(name, 3, 4),
        wire.Credit(name, 3, 4),
        wire.Output(name, 3, 1),
        wire.Done(name, {"lines": 3, "seconds": 0.5, "gadgets": {"a": [1, 2]}}),
        wire.Notice(name, "wait"),
        wire.Error(name, "data", "message", "gadget", "detail"),
    ]
    return [wire.pack(message) for message in messages]


def chains() -> list[bytes]:
    folder = resources.files("echotrain.gadgets.configs")
    stock = [path.read_bytes() for path in sorted(folder.iterdir(), key=str) if path.name.endswith(".xml")]
    parallel = (
        b'<chain name="x"><gadget name="CollectKSpace" split="slice"/><gadget name="Fourier"/><parallel>'
        b'<branch name="a"><gadget name="Combine"/></branch><branch name="b"/></parallel></chain>'
    )
    ends = {"readers": reader("AcquisitionReader", slot="1008"), "writers": reader("MRIImageWriter", "writer", "1022")}
    fanout = (
        f"<parallel>{gadget('AcquisitionFanout', tag='branch')}<stream key='a'>{gadget('FFTGadget')}</stream>"
        f"<stream/>{gadget('UnorderedMerge', tag='merge')}</parallel>"
    )
    program = "<execute name='m' type='python' target='t'/><configuration><a b='c'/></configuration>"
    external = f"<external>{program}</external>"
    texts = [
        legacy(gadget("NoiseAdjustGadget", "n", scale="1"), gadget("FFTGadget", a="scale@n")),
        version_2(gadget("AcquisitionAccumulateTriggerGadget", trigger_dimension="slice"), fanout, external, **ends),
    ]
    return [*stock, parallel, *(text.encode() for text in texts)]


def metas() -> list[bytes]:
    return [meta_xml(_META), meta_xml({"a": "", "b": [1, 2]}), b""]


def keys() -> list[bytes]:
    public, secret = b"Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID", b"D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"
    text = b'# comment\n\nmetadata\n    server-key = %s\ncurve\n    public-key = "%s"\n    secret-key = "%s"\n'
    return [text % (public, public, secret), b'curve\n    public-key = "%s"\n' % public]


def requests() -> list[bytes]:
    request = {"config": "fft", "parameters": {"a.b": "c"}, "label": "d", "options": {}, "notes": ["e"], "client": "f"}
    return [json.dumps(request).encode()]


def events() -> list[bytes]:
    found = [{"time": 1.5, "event": "opened"}, {"time": 2, "event": "error", "message": "a"}]
    return [b"".join(json.dumps(event).encode() + b"\n" for event in found)]


def noises() -> list[bytes]:
    facts = {"measurement_id": "7_3", "scanner": "v / m / s", "time": 1e9, "channel_bits": (2, 5)}
    noise = Noise(np.diag([1 + 0j, 2]), 7.6, 128, coil_names=("A", "B"), **facts)
    with tempfile.TemporaryDirectory() as folder:
        NoiseStore(Path(folder)).keep(noise)
        (path,) = Path(folder).iterdir()
        return [path.read_bytes()]


def hdf5() -> list[bytes]:
    """Files of a few kilobytes, as their chunks hold few rows."""
    with tempfile.TemporaryDirectory() as folder:
        lines, images = Path(folder, "lines.h5"), Path(folder, "images.h5")
        with h5py.File(lines, "w") as file:
            group = file.create_group("dataset")
            write_header(group, b"<ismrmrdHeader/>")
            members = ("data", _lines(3, 2, 5, 1), ACQUISITION_ROW), ("waveforms", _waveforms(), WAVEFORM_ROW)
            for name, batch, dtype in members:
                rows = np.empty(len(batch), dtype)
                rows["head"] = batch.head
                for number in range(len(batch)):
                    rows["data"][number] = batch.data[number].reshape(-1).view(dtype["data"].metadata["vlen"])
                    if name == "data":
                        rows["traj"][number] = batch.trajectory[number].reshape(-1)
                group.create_dataset(name, data=rows, maxshape=(None,), chunks=(2,))
        with ImageWriter(images) as writer:
            writer.write(_image())
        return [lines.read_bytes(), images.read_bytes()]
