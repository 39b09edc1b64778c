"""What the tests of the server share."""

import pytest
from made_up_sessions import Setup


@pytest.fixture
def opened(tmp_path):
    """`opened(output_window=5)`: a `Setup` with these settings."""
    made = []

    def make(**settings):
        made.append(Setup(tmp_path, **settings))
        return made[-1]

    yield make
    for setup in made:
        setup.session.leave("the test is over")
