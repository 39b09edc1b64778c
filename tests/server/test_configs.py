"""Chains by name: found in the stock and a site's folders, and nowhere else."""

import pytest

from echotrain.mrd.errors import ConfigError
from echotrain.server.configs import config_names, find_config

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
    with pytest.raises(ConfigError, match=r"there is no configuration 'cuont'; did you mean count\?"):
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
