"""XML from strangers: parsed without document types, entities or external access."""

from __future__ import annotations

from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml import DefusedXmlException

from .errors import EchotrainError

MAX_DEPTH = 100  # far beyond any header or chain, and within what can be walked by recursion


def parse_xml(text: bytes | str, what: str, error: type[EchotrainError]) -> Element:
    """The root of `text`, with namespaces taken off the tags.

    Raises:
        error: where `text` is not XML, declares a document type, or is nested too deep; the message calls it `what`.
    """
    try:
        root: Element = defusedxml.ElementTree.fromstring(text.lstrip(), forbid_dtd=True)
    except DefusedXmlException as reason:
        raise error(f"{what} declares a document type or entities, which are not accepted") from reason
    except (ParseError, ValueError, LookupError) as reason:
        raise error(f"{what} is not XML: {reason}") from reason
    depth, level = 0, [root]
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise error(f"{what} has elements within elements {depth} deep; at most {MAX_DEPTH} are accepted")
        for element in level:
            element.tag = element.tag.rpartition("}")[2]
        level = [child for element in level for child in element]
    return root
