"""Gadgetron's configurations, both dialects, read as they stand into chains of ours.

What cannot be done is refused at once and in full; what is done otherwise becomes a note that the client is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from echotrain.mrd.errors import ConfigError, nearest
from echotrain.mrd.xml import parse_xml

from .chain_xml import Branch, ChainDescription, Parallel, Part, Step
from .gadgetron_steps import Node, Reading, translated

LEGACY, VERSION_2 = "gadgetronStreamConfiguration", "configuration"
ROOTS = (LEGACY, VERSION_2)

_GADGET = ("name", "dll", "classname", "property")
_KINDS = {  # what travels: the slot of its readers and writers, and how their classes begin
    "Acquisitions": ("1008", "Acquisition", "GadgetIsmrmrdAcquisitionMessage"),
    "Waveforms": ("1026", "Waveform", "GadgetIsmrmrdWaveformMessage"),
    "Image": ("1022", "Image", "MRIImage"),
    "Text": ("5", "Text"),
}
_FANOUTS = ("AcquisitionFanout", "WaveformFanout", "ImageFanout")
_LOCAL = {  # parts that Gadgetron spreads over threads or machines: the children of each, and the one that works
    "distributed": ("readers", "writers", "distributor", "stream"),
    "puredistributed": ("readers", "writers", "purestream"),
    "parallelprocess": ("purestream",),
}
_REFERENCES = 100  # that one after another lead to a value
_HINTS = 20  # problems after which the nearest names are no longer looked for, which takes long where there are many
_EXTERNAL = "lines, waveforms and images are given to other programs"


def parse_gadgetron(text: str | bytes, name: str = "gadgetron") -> ChainDescription:
    """Read a configuration of Gadgetron, of either dialect, into a chain called `name`.

    Raises:
        ConfigError: where it is none, or asks for what cannot be done; with all of that.
    """
    root = parse_xml(text, "the configuration", ConfigError)
    version = _text(root, "version")
    if root.tag not in ROOTS:
        raise ConfigError(f"<{root.tag}> begins no configuration of Gadgetron; <{'> or <'.join(ROOTS)}> does")
    if root.tag == VERSION_2 and version != "2":
        raise ConfigError(f"<configuration> is of version {version or '(none)'}; version 2 is read")
    reading = Reading()
    parser = _Parser(root, reading)
    parts = parser.legacy(root) if root.tag == LEGACY else parser.version_2(root)
    if reading.problems:
        raise ConfigError(
            "Gadgetron's configuration asks for what cannot be done: " + "; ".join(dict.fromkeys(reading.problems))
        )
    if reading.no_effect:
        reading.notes.append(f"properties that do nothing here: {', '.join(sorted(reading.no_effect))}")
    return ChainDescription(name, parts, tuple(dict.fromkeys(reading.notes)))


class _Parser:
    """Elements turned into parts of a chain; what is found on the way goes into `reading`."""

    def __init__(self, root: Element, reading: Reading) -> None:
        self._reading = reading
        self._properties: dict[str, str] = {}
        """Of all gadgets that have a name, by property@name."""
        for element in root.iter():
            owner = _text(element, "name")
            for child in element.iterfind("property") if owner else ():
                name, value = self._property(child)
                self._properties[f"{name}@{owner}"] = value

    def legacy(self, root: Element) -> tuple[Part, ...]:
        self._only(root, "reader", "writer", "gadget")
        parts = translated([self._gadget(gadget) for gadget in root.iterfind("gadget")], self._reading)
        return self._ended(parts, root.findall("reader"), root.findall("writer"))

    def version_2(self, root: Element) -> tuple[Part, ...]:
        self._only(root, "version", "readers", "writers", "stream")
        parts = tuple(part for stream in root.iterfind("stream") for part in self._stream(stream))
        return self._ended(parts, root.findall("readers/reader"), root.findall("writers/writer"))

    def _stream(self, stream: Element) -> tuple[Part, ...]:
        return translated(self._nodes(stream), self._reading)

    def _nodes(self, stream: Element) -> list[Node | Part]:
        """The gadgets of a stream in a row, with those of parts that run here like any other."""
        nodes: list[Node | Part] = []
        for element in stream:
            if element.tag == "gadget":
                nodes.append(self._gadget(element))
            elif element.tag == "parallel":
                nodes += self._parallel(element)
            elif element.tag == "external":
                nodes += self._external(element)
            elif element.tag in _LOCAL:
                self._only(element, *_LOCAL[element.tag])
                self._reading.notes.append(f"<{element.tag}>: runs here, as part of the chain")
                for inner in element.iterfind(_LOCAL[element.tag][-1]):
                    nodes += self._nodes(inner)
            else:
                self._unknown(element, stream)
        return nodes

    def _node(self, element: Element) -> Node:
        self._only(element, *_GADGET)
        classname = _text(element, "classname")
        if not classname:
            self._reading.problems.append(f"<{element.tag}> {_text(element, 'name')!r} has no <classname>")
        properties: dict[str, str] = {}
        for child in element.iterfind("property"):
            name, value = self._property(child)
            properties[name] = self._resolved(value)
        return Node(classname, _text(element, "name"), properties)

    def _gadget(self, element: Element) -> Node | Part:
        """A gadget; one of the old Python kind is the program that Gadgetron makes of it, too."""
        node = self._node(element)
        if node.classname != "PythonGadget":
            return node
        configuration = Element("configuration")
        for name, value in node.properties.items():
            ElementTree.SubElement(configuration, "property", name=name, value=value)
        names = {key: node.properties.get(f"python_{key}", "") for key in ("module", "class")}
        return _external_step(names["module"], names["class"], configuration)

    def _property(self, element: Element) -> tuple[str, str]:
        """Name and value of a property: attributes, or elements within."""
        self._only(element, "name", "value")
        found = [element.get(key, element.findtext(key)) for key in ("name", "value")]
        if found[0] is None or found[1] is None or (element.attrib and len(element)):
            text = ElementTree.tostring(element, encoding="unicode").strip()[:200]
            self._reading.problems.append(f"{text} is no property: it needs one name and one value")
        name, value = ((text or "").strip() for text in found)
        return name, value

    def _resolved(self, value: str) -> str:
        """The value of the property that a value with @ refers to, or the value itself."""
        problems = self._reading.problems
        seen: set[str] = set()
        while "@" in value:
            why = ""
            if value in seen or len(seen) == _REFERENCES:
                why = "leads back to itself" if value in seen else f"leads through more than {_REFERENCES} others"
            elif value not in self._properties:
                hint = nearest(value, self._properties) if len(problems) < _HINTS else ""
                why = f"is no property of a gadget; {hint}"
            if why:
                problems.append(f"the reference {value!r} {why}")
                return ""
            seen.add(value)
            value = self._properties[value]
        return value

    def _parallel(self, element: Element) -> list[Node | Part]:
        self._only(element, "branch", "stream", "merge")
        branches, merges = ([self._node(e) for e in element.iterfind(tag)] for tag in ("branch", "merge"))
        streams = element.findall("stream")
        branching, merging = (" ".join(node.classname for node in nodes) for nodes in (branches, merges))
        if merging == "Unmixing" and branching in _FANOUTS:
            # Gadgetron's first GRAPPA, whose branches make images and weights out of the same lines.
            inner = [node for stream in streams for node in self._nodes(stream)]
            return [*inner, *merges]
        if merging == "UnorderedMerge" and branching in _FANOUTS:
            names = [stream.get("key", str(number)) for number, stream in enumerate(streams)]
            parts = [self._stream(stream) for stream in streams]
            return [Parallel(tuple(map(Branch, names, parts)))]
        self._reading.problems.append(
            f"<parallel> with the branch {branching or '(none)'} and the merge {merging or '(none)'}: not yet "
            f"supported ({', '.join(_FANOUTS)} with UnorderedMerge are)"
        )
        for stream in streams:
            self._stream(stream)  # for the problems in it
        return []

    def _external(self, element: Element) -> list[Part]:
        self._only(element, "execute", "connect", "configuration", "readers", "writers")
        execute = element.find("execute")
        kind = "connect" if execute is None else execute.get("type", "").lower()
        if execute is None or kind != "python":
            what = "another server" if execute is None else f"programs of type {kind or '(none)'}"
            self._reading.problems.append(f"<external> {kind}: not yet supported ({what}; execute of type python is)")
            return []
        name = execute.get("name", "")
        # Gadgetron's writers stand for what is given to the program, its readers for what comes back.
        ends = {}
        for end, path in (("takes", "writers/writer"), ("gives", "readers/reader")):
            elements = element.findall(path)
            others = [_text(found, "classname") for found in elements if not _kind(found)]
            self._reading.problems += [
                f"<external> {name}: {other}: not yet supported ({_EXTERNAL})" for other in others
            ]
            if elements:
                ends[end] = " ".join(dict.fromkeys(map(_kind, elements)))
        return [_external_step(name, execute.get("target", ""), element.find("configuration"), **ends)]

    def _ended(
        self, parts: tuple[Part, ...], readers: Sequence[Element], writers: Sequence[Element]
    ) -> tuple[Part, ...]:
        """`parts`, with what the chain needs at its end by what is read and written."""
        for element in (*readers, *writers):
            self._only(element, "slot", "dll", "classname")
        for what, elements in (("read", readers), ("sent", writers)):
            others = [_text(element, "classname") for element in elements if not _kind(element)]
            told = self._reading.notes if len(others) < len(elements) else self._reading.problems
            told += [f"{name}: what it stands for is not {what}" for name in others]
        if not parts:
            return (Step("Count"),)  # a chain of nothing, by which clients see that a server is there
        gadgets = [step.gadget for step in ChainDescription("", parts).steps]
        if {"CollectKSpace", "ExternalPython"} & {*gadgets} or "Acquisitions" not in map(_kind, readers):
            return parts
        if "Acquisitions" in map(_kind, writers):
            return parts
        self._reading.notes.append("no writer for lines: they are counted, and not sent")
        return (*parts, Step("Count"))

    def _only(self, element: Element, *tags: str) -> None:
        for child in element:
            if child.tag not in tags:
                self._unknown(child, element)

    def _unknown(self, element: Element, within: Element) -> None:
        self._reading.problems.append(f"<{element.tag}> is not known in <{within.tag}>")


def _text(element: Element, tag: str) -> str:
    return element.findtext(tag, "").strip()


def _kind(element: Element) -> str:
    """What a reader or writer is for, in our words; empty where it does not travel with us."""
    classname, slot = _text(element, "classname"), _text(element, "slot")
    stem = classname.removesuffix("Reader").removesuffix("Writer")
    for kind, (number, *stems) in _KINDS.items():
        if stem in stems or slot == number:
            return kind
    return ""


def _external_step(module: str, target: str, configuration: Element | None, **ends: str) -> Step:
    values = {"module": module, "target": target, **ends}
    if configuration is not None:
        configuration.tail = None
        values["configuration"] = ElementTree.tostring(configuration, encoding="unicode")
    return Step("ExternalPython", values)
