"""Chains in XML: what is read, and that every mistake is said in words."""

import pytest

from echotrain.gadgets import CombineCoils, Count
from echotrain.mrd.errors import ConfigError
from echotrain.server.chain_xml import Branch, ChainDescription, Parallel, Step, chain_xml, parse_chain


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


FORKED = """
<chain name="forked">
  <gadget name="A" x="1"/>
  <parallel>
    <branch name="images"><gadget name="B" x="1"/></branch>
    <branch name="snr">
      <gadget name="A" x="1"/>
      <parallel>
        <branch name="images"><gadget name="A" x="1"/><gadget name="B" x="1"/></branch>
        <branch name="raw"/>
      </parallel>
    </branch>
  </parallel>
  <gadget name="C"/>
</chain>
"""


def test_branches_are_read_where_they_stand():
    def step(name):
        return Step(name, {"x": "1"})

    inner = Parallel((Branch("images", (step("A"), step("B"))), Branch("raw", ())))
    outer = Parallel((Branch("images", (step("B"),)), Branch("snr", (step("A"), inner))))
    assert parse_chain(FORKED) == ChainDescription("forked", (step("A"), outer, Step("C", {})))


def test_steps_are_those_of_all_branches_in_the_order_of_the_text():
    assert [step.gadget for step in parse_chain(FORKED).steps] == ["A", "B", "A", "A", "B", "C"]


@pytest.mark.parametrize(
    ("key", "changed"),
    [
        ("A.x", [0, 2, 3]),
        ("B.x", [1, 4]),
        ("snr/A.x", [2, 3]),
        ("snr/images/A.x", [3]),
        ("images/A.x", [3]),
        ("images/B.x", [1, 4]),
        ("snr/B.x", [4]),
    ],
)
def test_a_setting_reaches_every_gadget_of_that_name_or_those_in_a_branch(key, changed):
    steps = parse_chain(FORKED).with_parameters({key: "7"}).steps
    assert [i for i, step in enumerate(steps) if step.values.get("x") == "7"] == changed
    assert [i for i, step in enumerate(steps) if "x" in step.overridden] == changed


@pytest.mark.parametrize("key", ["images/C.x", "raw/A.x", "nowhere/A.x", "images/snr/A.x", "snr/x"])
def test_a_setting_of_no_gadget_in_its_branch_is_refused(key):
    with pytest.raises(ConfigError) as caught:
        parse_chain(FORKED).with_parameters({key: "7"})
    assert repr(key) in str(caught.value)
    assert repr(key.rpartition("/")[0]) in str(caught.value)


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        ("<branch name='a'/>", ["part 2 of the chain", "1 <branch>", "at least two"]),
        ("", ["0 <branch>", "at least two"]),
        ("<branch name='a'/><branch/>", ["branch number 2", "no name"]),
        ("<branch name='a'/><branch name='a'/>", ["two branches", "'a'", "a name of its own"]),
        ("<branch name='a'/><branch name='b/c'/>", ["'b/c'", "slash"]),
        ("<branch name='a'/><branch name='b' x='1'/>", ["<branch name='b'>", "no attribute 'x'"]),
        ("<branch name='a'/><gadget name='A'/>", ["<gadget>", "<branch> is"]),
        ("<branch name='a'><gadget/></branch><branch name='b'/>", ["gadget number 1 of branch 'a' has no name"]),
        ("<branch name='a'><branch name='b'/></branch><branch name='c'/>", ["<branch> is not supported in branch 'a'"]),
    ],
)
def test_what_is_not_a_parallel_part_is_refused_with_what_is_wrong(inside, words):
    with pytest.raises(ConfigError) as caught:
        parse_chain(f"<chain><gadget name='A'/><parallel>{inside}</parallel></chain>")
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_mistakes_in_and_around_branches_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        parse_chain("<chain><gizmo/><parallel speed='5'><branch><gadget/></branch></parallel><gadget/></chain>")
    for word in (
        "<gizmo>",
        "'speed'",
        "branch number 1",
        "gadget number 1 of branch 1",
        "at least two",
        "number 3 of the",
    ):
        assert word in str(caught.value)


def test_branches_of_one_name_are_refused_however_the_chain_was_described():
    with pytest.raises(ConfigError, match="'a' and 'a'"):
        Parallel((Branch("a", ()), Branch("a", ())))


def test_a_chain_with_branches_written_out_is_read_as_the_same_chain():
    chain = parse_chain(FORKED.replace(' x="1"', "").replace('"A"', '"CombineCoils"'))
    made = [
        CombineCoils(width=number) if step.gadget == "CombineCoils" else Count()
        for number, step in enumerate(chain.steps, 3)
    ]
    written = parse_chain(chain_xml(chain, made))
    assert [step.values.get("width") for step in written.steps] == ["3", None, "5", "6", None, None]
    assert without_values(written.parts) == without_values(chain.parts)


def without_values(parts):
    return [
        {branch.name: without_values(branch.parts) for branch in part.branches}
        if isinstance(part, Parallel)
        else part.gadget
        for part in parts
    ]
