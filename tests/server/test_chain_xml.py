"""Chains in XML: what is read, and that every mistake is said in words."""

import pytest

from echotrain.gadgets import Count
from echotrain.mrd.errors import ConfigError
from echotrain.server.chain_xml import ChainDescription, Step, chain_xml, parse_chain


def test_gadgets_are_read_in_order_with_their_parameters_as_text():
    chain = parse_chain('<chain name="two"><gadget name="First" width="3"/><gadget name="Second"/></chain>')
    assert chain.name == "two"
    assert [step.gadget for step in chain.steps] == ["First", "Second"]
    assert chain.steps[0].values == {"width": "3"}
    assert chain.steps[1].values == {}


def test_a_chain_is_read_from_bytes_with_comments_and_a_namespace():
    text = b'<?xml version="1.0" encoding="utf-8"?><chain xmlns="urn:x" name="c"><!-- one --><gadget name="A"/></chain>'
    assert [step.gadget for step in parse_chain(text).steps] == ["A"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not XML at all", ["the chain is not XML"]),
        ("<chain><gadget name='A'></chain>", ["the chain is not XML", "line 1"]),
        ("<stream/>", ["<stream>", "<chain>"]),
        ("<chain colour='red'><gadget name='A'/></chain>", ["'colour'"]),
        ("<chain><gizmo name='A'/></chain>", ["<gizmo>", "<gadget>"]),
        ("<chain><gadget name='A'/><gadget width='2'/></chain>", ["gadget number 2 of the chain has no name"]),
        ("<chain><gadget name='A'><property/></gadget></chain>", ["'A'", "<property>", "attributes"]),
    ],
)
def test_what_is_not_a_chain_is_refused_with_what_is_wrong(text, words):
    with pytest.raises(ConfigError) as caught:
        parse_chain(text)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_several_mistakes_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        parse_chain("<chain speed='5'><gizmo/><gadget/><gadget name='A'><x/></gadget></chain>")
    for word in ("'speed'", "<gizmo>", "no name", "<x>"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE chain><chain><gadget name="A"/></chain>',
        '<!DOCTYPE c [<!ENTITY e "x">]><chain name="&e;"><gadget name="A"/></chain>',
        '<!DOCTYPE c [<!ENTITY e SYSTEM "file:///etc/passwd">]><chain><gadget name="&e;"/></chain>',
    ],
)
def test_document_types_and_entities_are_refused(text):
    with pytest.raises(ConfigError, match="document type or entities"):
        parse_chain(text)


def test_settings_replace_the_values_of_every_gadget_of_that_name():
    chain = parse_chain('<chain><gadget name="A" x="1"/><gadget name="B" x="1"/><gadget name="A"/></chain>')
    changed = chain.with_parameters({"A.x": "7"})
    assert [step.values.get("x") for step in changed.steps] == ["7", "1", "7"]
    assert [step.overridden for step in changed.steps] == [{"x"}, set(), {"x"}]
    assert [step.values.get("x") for step in chain.steps] == ["1", "1", None]


def test_a_gadget_by_dotted_path_is_set_by_its_path_or_its_class():
    chain = parse_chain('<chain><gadget name="site.module.Blur"/></chain>')
    for key in ("Blur.width", "site.module.Blur.width"):
        assert chain.with_parameters({key: "3"}).steps[0].values == {"width": "3"}


@pytest.mark.parametrize(
    ("key", "hint"), [("Blor.width", "did you mean Blur?"), ("width", "known: Blur"), ("", "known: Blur")]
)
def test_a_setting_of_no_gadget_names_the_nearest(key, hint):
    chain = parse_chain('<chain name="soft"><gadget name="Blur"/></chain>')
    with pytest.raises(ConfigError) as caught:
        chain.with_parameters({key: "3"})
    assert repr(key) in str(caught.value)
    assert "'soft'" in str(caught.value)
    assert hint in str(caught.value)


def test_a_chain_written_out_is_read_as_the_same_chain():
    written = parse_chain(chain_xml(ChainDescription('a "quoted" name', (Step("Count"),)), [Count()]))
    assert written.name == 'a "quoted" name'
    assert [(step.gadget, dict(step.values)) for step in written.steps] == [("Count", {})]
