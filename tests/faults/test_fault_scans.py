"""Scans struck by faults: each is whole in the end, line for line and image for image, or the client is told why not.

`python tests/faults/run.py --faults 500` is the long form of this.
"""

from itertools import islice

import pytest
from fault_damage import DAMAGES
from fault_trials import DISK, KINDS, Reference, fault_server, plan, plans, run_trial

SEEDS = range(6)


@pytest.fixture(scope="module")
def struck(tmp_path_factory):
    """`struck(plan)`: what became of a scan."""
    folder = tmp_path_factory.mktemp("faults")
    with fault_server(folder) as server:
        references = Reference(server, folder)

        def run(plan):
            if plan.kind == DISK and DISK not in server.kinds:
                pytest.skip("a small file system cannot be mounted")
            return run_trial(plan, server, references, folder)

        yield run


@pytest.mark.parametrize("kind", KINDS)
def test_a_scan_with_faults_ends_well_or_in_words(struck, kind):
    outcome = struck(plan(kind, seed=1))
    assert not outcome.wrong, str(outcome)
    if kind not in DAMAGES:
        assert (outcome.lines_held, outcome.images) == (outcome.lines_sent, outcome.images_wanted)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
def test_more_scans_with_faults_end_well_or_in_words(struck, kind, seed):
    outcome = struck(plan(kind, seed=100 + seed))
    assert not outcome.wrong, str(outcome)


def test_the_same_seed_plans_the_same_faults():
    first, again, other = (list(islice(plans(seed), 300)) for seed in (3, 3, 4))
    assert first == again != other
    assert {one.kind for one in first} == set(KINDS)
