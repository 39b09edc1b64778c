"""`echotrain train --set`: parameters of networks as whole numbers, decimals and truth values."""

import argparse

import pytest

from echotrain.clients.commands import train


@pytest.fixture
def parser():
    made = argparse.ArgumentParser(exit_on_error=False)
    train.add_options(made)
    return made


@pytest.mark.parametrize(("text", "value"), [("4", 4), ("0.1", 0.1), ("true", True), ("false", False)])
def test_values_have_the_type_that_they_are_written_in(parser, text, value):
    given = dict(parser.parse_args(["folder", "--set", f"name={text}"]).parameters)["name"]
    assert (type(given), given) == (type(value), value)


@pytest.mark.parametrize("text", ["name", "name=", "name=much", "name=1.x"])
def test_what_is_no_value_is_refused(parser, text):
    with pytest.raises(argparse.ArgumentError, match="NAME="):
        parser.parse_args(["folder", "--set", text])
