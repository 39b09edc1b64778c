"""Configurations of Gadgetron, in both dialects, put together for tests."""

import pytest

from echotrain.mrd.errors import ConfigError
from echotrain.server.gadgetron_xml import parse_gadgetron


def gadget(classname, name="", tag="gadget", **properties):
    inner = "".join(
        f"<property><name>{key}</name><value>{value}</value></property>" for key, value in properties.items()
    )
    named = f"<name>{name}</name>" if name else ""
    return f"<{tag}>{named}<dll>somewhere</dll><classname>{classname}</classname>{inner}</{tag}>"


def legacy(*parts):
    return f'<gadgetronStreamConfiguration xmlns="http://gadgetron.sf.net/gadgetron">{"".join(parts)}</gadgetronStreamConfiguration>'


def version_2(*parts, readers="", writers=""):
    return (
        f"<configuration><version>2</version><readers>{readers}</readers><writers>{writers}</writers>"
        f"<stream>{''.join(parts)}</stream></configuration>"
    )


def reader(classname, tag="reader", slot=""):
    return f"<{tag}>{f'<slot>{slot}</slot>' if slot else ''}<dll>x</dll><classname>{classname}</classname></{tag}>"


def steps(*parts):
    return list(parse_gadgetron(legacy(*parts)).parts)


def refused(text):
    with pytest.raises(ConfigError) as caught:
        parse_gadgetron(text)
    return str(caught.value)
