"""Which kernels count as run: where numba's cache is warm, only the outermost of them has been loaded."""

from kernels.motifs import detection, row_lists, tile_sums
from tests.bounds.__main__ import calls


def test_what_a_kernel_calls_is_found_by_its_name_and_through_its_module():
    found = calls(detection._evaluate.py_func)
    for called in (detection._is_dense, tile_sums.evaluate, row_lists.evaluate):
        assert any(called is one for one in found)
    assert not any(detection._list_tiles is one for one in found)
