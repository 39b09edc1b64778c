"""Models of other makers: run as they are described, and refused with words where they are not what they should be."""

import json
import pickle
import warnings
import zipfile
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from known_coils import started, unit
from tiny_networks import find_only_in, install_script
from undersampling import N_CHANNELS, N_KX, N_KY, channel_images, every, only, relative

from echotrain.gadgets import RunModel
from echotrain.gadgets.fourier import centred_fft
from echotrain.mrd import Image, ImageType
from echotrain.mrd.errors import ConfigError, DataError

# Importing it here would start what reports to its makers, which the gadget does not let start.
with_onnxruntime = pytest.mark.skipif(find_spec("onnxruntime") is None, reason="onnxruntime is not installed")
SHAPE = (2, 3, 9, 7)  # of an image: channel, z, y, x


@pytest.fixture
def folder(tmp_path, monkeypatch):
    return find_only_in(tmp_path, monkeypatch)


def complex_image(shape=SHAPE, seed=0):
    rng = np.random.default_rng(seed)
    data = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
    return Image(data).with_data(data, image_type=ImageType.COMPLEX)


def magnitude_image():
    data = np.abs(complex_image().data)
    return Image(data).with_data(data, image_type=ImageType.MAGNITUDE)


def run(item, model="model"):
    return list(started(RunModel(model=model)).process(item))


def refusal(item, error=DataError):
    with pytest.raises(error) as caught:
        run(item)
    return str(caught.value)


def install_onnx(folder, name, nodes, in_channels, out_channels, **description):
    """A model of `nodes` from the tensor x to the tensor y, of any height and width."""
    onnx = pytest.importorskip("onnx")
    given, made = (
        onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, [1, n_channels, "h", "w"])
        for tensor, n_channels in (("x", in_channels), ("y", out_channels))
    )
    graph = onnx.helper.make_graph([onnx.helper.make_node(*node) for node in nodes], "graph", [given], [made])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
    (folder / f"{name}.json").write_text(json.dumps(description))


# What comes out


def test_a_model_takes_each_slice_of_an_image(folder):
    install_script(folder, "model", lambda x: 3 * x, torch.ones(1, 2, 4, 4))
    image = magnitude_image()
    (found,) = run(image)
    assert relative(found.data, 3 * image.data) < 1e-6
    assert found.meta["EchotrainModel"] == "model"
    assert int(found.head["image_type"]) == ImageType.MAGNITUDE


def test_complex_images_go_to_models_of_magnitudes_without_their_phase(folder):
    install_script(folder, "model", lambda x: x[:, :1], torch.ones(1, 2, 4, 4))
    image = complex_image()
    (found,) = run(image)
    assert found.data.dtype == np.float32
    assert relative(found.data, np.abs(image.data[:1])) < 1e-6


def test_parts_are_real_ones_of_all_channels_and_then_imaginary_ones(folder):
    def conjugate_of_the_second(x):
        return torch.cat([x[:, 1:2], -x[:, 3:4]], 1)

    install_script(folder, "model", conjugate_of_the_second, torch.ones(1, 4, 4, 4), input="parts", output="parts")
    image = complex_image()
    (found,) = run(image)
    assert relative(found.data, image.data[1:].conj()) < 1e-6
    assert int(found.head["image_type"]) == ImageType.COMPLEX


def test_complex_tensors_may_go_in_and_out(folder):
    example = torch.ones(1, 2, 4, 4, dtype=torch.complex64)
    install_script(folder, "model", lambda x: 1j * x, example, input="complex", output="complex")
    image = complex_image()
    assert relative(run(image)[0].data, 1j * image.data) < 1e-6


@pytest.mark.parametrize(
    ("normalise", "expected"),
    [
        ("none", lambda x: x**2),
        ("maximum", lambda x: x**2 / x.max()),
        ("deviation", lambda x: (x - x.mean()) ** 2 / x.std(ddof=1) + x.mean()),
    ],
)
def test_intensities_are_normalised_and_brought_back(folder, normalise, expected):
    """Squares tell what the model saw."""
    install_script(folder, "model", lambda x: x * x, torch.ones(1, 2, 4, 4), normalise=normalise)
    image = magnitude_image()
    (found,) = run(image)
    for z in range(SHAPE[1]):
        assert relative(found.data[:, z], expected(image.data[:, z])) < 1e-5


def test_models_of_k_space_see_zeros_where_lines_were_not_acquired(folder):
    example = torch.ones(1, N_CHANNELS, 4, 4, dtype=torch.complex64)
    install_script(folder, "model", lambda x: x.clone(), example, takes="kspace", input="complex", output="complex")
    kspace = centred_fft(channel_images(), (-2, -1))
    (found,) = run(unit(kspace, every(3)))
    assert relative(found.data, only(kspace, every(3))) < 1e-5
    assert (found.data[:, :, ~every(3)[0]] == 0).all()


def test_images_pass_models_of_k_space_and_maps_pass_models_of_images(folder):
    install_script(folder, "one", lambda x: x, torch.ones(1, 2, 4, 4), takes="kspace")
    install_script(folder, "other", lambda x: 2 * x, torch.ones(1, 2, 4, 4))
    image = magnitude_image()
    assert run(image, "one") == [image]
    gfactor = Image(image.data, image.head, {"DataRole": "GFACTOR"})
    assert run(gfactor, "other") == [gfactor]


@with_onnxruntime
def test_onnx_models_are_run(folder):
    install_onnx(folder, "model", [("Add", ["x", "x"], ["y"])], 4, 4, input="parts", output="parts")
    image = complex_image()
    assert relative(run(image)[0].data, 2 * image.data) < 1e-6


@with_onnxruntime
def test_onnx_and_torchscript_give_the_same(folder):
    install_onnx(folder, "one", [("Exp", ["x"], ["y"])], 2, 2, normalise="maximum")
    install_script(folder, "other", torch.exp, torch.ones(1, 2, 4, 4), normalise="maximum")
    one, other = (run(magnitude_image(), name)[0].data for name in ("one", "other"))
    assert relative(one, other) < 1e-5


# What is refused before data


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


def test_pickled_models_are_refused_and_not_run(folder):
    torch.save(Bomb(), folder / "model.pt")
    (folder / "model.json").write_text("{}")
    assert "no TorchScript; pickled models are not loaded" in refusal(magnitude_image(), ConfigError)
    (folder / "model.pt").write_bytes(pickle.dumps(Bomb()))
    assert "no TorchScript; pickled models are not loaded" in refusal(magnitude_image(), ConfigError)


def test_a_pickle_within_a_torchscript_archive_is_not_run(folder):
    """Where such an archive holds its constants as a pickle of Python's, torch's own reader knows no such objects."""
    install_script(folder, "model", lambda x: 3 * x, torch.ones(1, 2, 4, 4))
    path = folder / "model.pt"
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, part in parts.items():
            archive.writestr(name, pickle.dumps(Bomb(), 2) if name.endswith(".pkl") else part)
    assert "model.pt is damaged or no TorchScript" in refusal(magnitude_image(), ConfigError)


def test_archives_of_torch_export_are_refused_since_they_hold_pickles(folder):
    (folder / "model.pt2").write_bytes(b"")
    (folder / "model.json").write_text("{}")
    assert "archives of torch.export hold pickled parts" in refusal(magnitude_image(), ConfigError)


@with_onnxruntime
def test_damaged_onnx_is_refused(folder):
    (folder / "model.onnx").write_bytes(b"nothing")
    (folder / "model.json").write_text("{}")
    assert "model.onnx is damaged or no ONNX model" in refusal(magnitude_image(), ConfigError)


@with_onnxruntime
def test_onnx_with_complex_input_is_refused(folder):
    install_onnx(folder, "model", [("Add", ["x", "x"], ["y"])], 4, 4, input="complex", output="complex")
    assert "ONNX knows no complex input" in refusal(complex_image(), ConfigError)


@pytest.mark.parametrize("name", ["modle", "../model", "/etc/passwd", "model.pt", ""])
def test_names_that_are_not_there_are_refused_with_those_that_are(folder, name):
    install_script(folder, "model", lambda x: x, torch.ones(1, 2, 4, 4))
    with pytest.raises(ConfigError) as caught:
        run(magnitude_image(), name)
    assert f"no models are called {name!r}; installed: model;" in str(caught.value)


def test_a_model_without_a_description_is_refused(folder):
    install_script(folder, "model", lambda x: x, torch.ones(1, 2, 4, 4))
    (folder / "model.json").unlink()
    assert "put model.json beside it" in refusal(magnitude_image(), ConfigError)


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ({"takes": "lines"}, "takes is 'lines'; wanted one of image, kspace"),
        ({"output": 3}, "output is 3; wanted one of magnitude, parts, complex"),
        ({"colour": "red"}, "is no description of a model"),
        ({"sizes": {"time": 3}}, "sizes has time=3"),
        ({"sizes": {"y": 0}}, "sizes has y=0"),
        ({"sizes": [3]}, "is no description of a model"),
        ([], "is no description of a model"),
    ],
)
def test_descriptions_of_something_else_are_refused(folder, description, words):
    install_script(folder, "model", lambda x: x, torch.ones(1, 2, 4, 4))
    (folder / "model.json").write_text(json.dumps(description))
    said = refusal(magnitude_image(), ConfigError)
    assert words in said
    assert "model.json" in said


# What is refused of data


def test_images_of_another_size_are_refused(folder):
    install_script(folder, "model", lambda x: x, torch.ones(1, 2, 4, 4), sizes={"channel": 2, "y": 16})
    assert "model model takes y of the size 16, not 9; resize before it" in refusal(magnitude_image())


@pytest.mark.parametrize(
    ("function", "output"),
    [
        (lambda x: x[..., 1:], "magnitude"),
        (lambda x: x[0], "magnitude"),
        (lambda x: torch.cat([x, x]), "magnitude"),
        (lambda x: x[:, :1], "parts"),
        (lambda x: x, "complex"),
        (lambda x: torch.complex(x, x), "magnitude"),
        (lambda x: x / 0, "magnitude"),
    ],
)
def test_what_a_model_gives_must_be_what_its_description_says(folder, function, output):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        install_script(folder, "model", function, torch.ones(1, 2, 4, 4), output=output)
    said = refusal(magnitude_image())
    assert "model model gives" in said
    assert said.endswith(f"its description says {output}")


def test_magnitudes_for_a_model_of_complex_images_are_refused(folder):
    install_script(folder, "model", lambda x: x, torch.ones(1, 4, 4, 4), input="parts", output="parts")
    assert "takes complex images" in refusal(magnitude_image())


def test_phases_for_a_model_of_magnitudes_are_refused(folder):
    install_script(folder, "model", lambda x: x, torch.ones(1, 2, 4, 4))
    image = magnitude_image()
    assert "takes magnitudes, not phase images" in refusal(image.with_data(image.data, image_type=ImageType.PHASE))


def test_k_space_for_a_model_of_images_is_refused(folder):
    install_script(folder, "model", lambda x: x, torch.ones(1, 2, 4, 4))
    kspace = np.ones((N_CHANNELS, 1, N_KY, N_KX), np.complex64)
    assert "takes images, not k-space" in refusal(unit(kspace, every(1)))


def test_pixels_that_are_not_finite_are_refused(folder):
    install_script(folder, "model", lambda x: x, torch.ones(1, 2, 4, 4))
    image = magnitude_image()
    image.data[1, 2, 3, 4] = np.nan
    assert "not finite" in refusal(image)


def test_errors_within_a_model_are_not_taken_for_those_of_memory(folder):
    def of_three_channels(x):
        return torch.nn.functional.conv2d(x, torch.ones(1, 3, 1, 1))

    install_script(folder, "model", of_three_channels, torch.ones(1, 3, 4, 4))
    with pytest.raises(RuntimeError, match="3 channels, but got 2"):
        run(magnitude_image())
