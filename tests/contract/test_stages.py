"""The contract of pipeline/testing.py, for every kind of stage there is."""

from pipeline.stages import KINDS
from pipeline.testing import stage_contract
from tests.contract.examples import EXAMPLES, SENSOR

CASES = [stages for all_ in EXAMPLES.values() for stages in all_]
NEEDS_MANY = {"motif-3", "looming-0", "movers-0", "movers-1", "global_motion-0"}

TestStages = stage_contract(EXAMPLES, SENSOR, NEEDS_MANY)


def test_every_kind_has_an_example():
    assert set(EXAMPLES) == set(KINDS)
