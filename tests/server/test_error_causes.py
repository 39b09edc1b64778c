"""Errors of gadgets keep the cause that they had, and are looked through to the end of their causes."""

import pytest

from echotrain.gadgets import Gadget
from echotrain.mrd import Acquisitions, parse_header
from echotrain.mrd.errors import DataError, GadgetError
from echotrain.server.chain import Chain
from echotrain.server.memory import is_memory_error


class Refuse(Gadget[Acquisitions, Acquisitions]):
    """Raise an error of ours at the start, from another."""

    def start(self, header, /):
        try:
            raise KeyError("kz")
        except KeyError as reason:
            raise DataError("these lines have no kz") from reason


class Break(Gadget[Acquisitions, Acquisitions]):
    """Raise an error of Python's."""

    def start(self, header, /):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("gadget", "kind", "cause"), [(Refuse, DataError, KeyError), (Break, GadgetError, ZeroDivisionError)]
)
def test_an_error_of_a_gadget_names_it_and_keeps_its_cause(small_scan, gadget, kind, cause):
    with pytest.raises(kind) as raised:
        Chain("it", [gadget()]).start(parse_header(small_scan().header))
    assert raised.value.gadget == gadget.__name__
    assert type(raised.value.__cause__) is cause


def test_an_error_that_is_its_own_cause_is_looked_at_once():
    error = ValueError("round and round")
    error.__cause__ = error
    assert not is_memory_error(error)
    error.__cause__ = MemoryError()
    assert is_memory_error(error)
