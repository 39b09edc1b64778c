"""Image attributes between a dict and ISMRMRD's meta XML."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from .errors import StreamError
from .image import Meta
from .xml import parse_xml

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def parse_meta(text: str) -> Meta:
    """Attributes of `text`; one value gives a string, several a list of strings.

    Raises:
        StreamError: where `text` is neither empty nor meta XML.
    """
    if not text.strip():
        return {}
    root = parse_xml(text, "the image's meta attributes", StreamError)
    found: dict[str, list[str]] = {}
    for element in root.iter("meta"):
        values = found.setdefault(element.findtext("name", "").strip(), [])
        values += [value.text or "" for value in element.iterfind("value")]
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def meta_xml(meta: Meta) -> bytes:
    """Meta XML of `meta`; empty where it is. Characters that XML cannot hold are replaced, as in text that is read."""
    if not meta:
        return b""
    root = ElementTree.Element("ismrmrdMeta")
    for name, value in meta.items():
        element = ElementTree.SubElement(root, "meta")
        ElementTree.SubElement(element, "name").text = _NOT_IN_XML.sub("\ufffd", name)
        for single in value if isinstance(value, list) else [value]:
            ElementTree.SubElement(element, "value").text = _NOT_IN_XML.sub("\ufffd", str(single))
    xml: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return xml.replace(b"\r", b"&#13;")  # which a parser would take for the end of a line
