"""XML from strangers: parsed without document types, entities or external access."""

from __future__ import annotations

from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml import DefusedXmlException

from .errors import EchotrainError


def parse_xml(text: bytes | str, what: str, error: type[EchotrainError]) -> Element:
    """The root of `text`, with namespaces taken off the tags.

    Raises:
        error: where `text` is not XML or declares a document type; the message calls it `what`.
    """
    try:
        root: Element = defusedxml.ElementTree.fromstring(text.lstrip(), forbid_dtd=True)
    except DefusedXmlException as reason:
        raise error(f"{what} declares a document type or entities, which are not accepted") from reason
    except (ParseError, ValueError, LookupError) as reason:
        raise error(f"{what} is not XML: {reason}") from reason
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root
