"""Chains by name: found in the stock and a site's folders, and nowhere else."""

import pytest

from echotrain.mrd.errors import ConfigError
from echotrain.server import gadgetron_later
from echotrain.server.chain import build_chain
from echotrain.server.configs import config_names, find_config
from echotrain.server.gadgetron_classes import SERVED
from echotrain.server.registry import Registry

GADGETRON = """<gadgetronStreamConfiguration xmlns="http://gadgetron.sf.net/gadgetron">
  <gadget><name>Parts</name><dll>x</dll><classname>ComplexToFloatGadget</classname></gadget>
</gadgetronStreamConfiguration>"""
CHAIN = '<chain name="{0}"><gadget name="Count"/></chain>'


def test_a_stock_chain_goes_by_its_name_with_and_without_suffix():
    assert find_config("count") == find_config("count.xml")
    assert [step.gadget for step in find_config("count").steps] == ["Count"]


def test_text_that_is_xml_is_the_chain_itself():
    assert find_config("  \n" + CHAIN.format("own")).name == "own"


def test_a_sites_folder_wins_over_the_stock(tmp_path):
    (tmp_path / "count.xml").write_text(CHAIN.format("ours"))
    (tmp_path / "v1.2-cine.xml").write_text(CHAIN.format("cine"))
    assert find_config("count", [tmp_path]).name == "ours"
    assert find_config("v1.2-cine", [tmp_path]).name == "cine"
    assert set(config_names([tmp_path])) == {"v1.2-cine", *config_names()}


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"there is no configuration 'cuont'; did you mean count"):
        find_config("cuont")


@pytest.mark.parametrize("name", ["../secret", "../secret.xml", "folder/../../secret", "secret\0", ".xml", "", ".."])
def test_a_name_reaches_nothing_outside_the_folders(tmp_path, name):
    (tmp_path / "secret.xml").write_text(CHAIN.format("secret"))
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(ConfigError, match="there is no configuration"):
        find_config(name, [folder])


def test_an_absolute_path_is_no_name(tmp_path):
    (tmp_path / "secret.xml").write_text(CHAIN.format("secret"))
    for name in (str(tmp_path / "secret"), str(tmp_path / "secret.xml")):
        with pytest.raises(ConfigError, match="there is no configuration"):
            find_config(name, [tmp_path])


def test_a_folder_that_is_not_there_holds_nothing(tmp_path):
    assert set(config_names([tmp_path / "nowhere"])) == set(config_names())


def test_a_configuration_of_gadgetron_is_read_as_text_and_from_a_sites_folder(tmp_path):
    assert [step.gadget for step in find_config(GADGETRON).steps] == ["ComplexParts"]
    assert find_config(f'<?xml version="1.0" encoding="utf-8"?>\n{GADGETRON}').name == "gadgetron"
    (tmp_path / "site_default.xml").write_text(GADGETRON)
    chain = find_config("site_default.xml", [tmp_path])
    assert (chain.name, [step.gadget for step in chain.steps]) == ("site_default", ["ComplexParts"])


def test_a_sites_configuration_of_gadgetron_wins_over_the_stock_of_its_name(tmp_path):
    (tmp_path / "default.xml").write_text(GADGETRON)
    (tmp_path / "epi.xml").write_text(GADGETRON)
    for name in ("default", "epi"):
        assert [step.gadget for step in find_config(name, [tmp_path]).steps] == ["ComplexParts"]


def test_an_error_in_a_sites_configuration_names_its_file(tmp_path):
    (tmp_path / "broken.xml").write_text(GADGETRON.replace("ComplexToFloat", "ComplexToFloot"))
    with pytest.raises(ConfigError, match=r"broken\.xml: .*ComplexToFlootGadget 'Parts'.*did you mean ComplexToFloat"):
        find_config("broken", [tmp_path])


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("epi.xml", "echo-planar scans"),
        ("Generic_Cartesian_NonLinear_Spirit_RealTimeCine", "SPIRiT"),
        ("Generic_Spiral.xml", "spiral"),
    ],
)
def test_a_stock_name_of_gadgetron_that_waits_for_a_gadget_says_so(name, missing):
    with pytest.raises(
        ConfigError, match=rf"{name.removesuffix('.xml')} of Gadgetron is not yet supported \(.*{missing}"
    ):
        find_config(name)


def test_no_name_is_both_served_and_not_yet_supported():
    assert not set(gadgetron_later.CONFIGS) & set(config_names())
    served = {name for entry in SERVED for name in entry.classes}
    assert not set(gadgetron_later.CLASSES) & served


@pytest.mark.parametrize("name", config_names())
def test_the_gadgets_of_each_stock_chain_fit(name):
    description = find_config(name)
    assert description.name == name
    assert build_chain(description, Registry()).gadgets
