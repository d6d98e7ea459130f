import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import sha256
from kernels.sha256 import Sha256
from tests.reference import sha256 as naive

WAYS = [way for way in (sha256.in_numba, sha256.through_openssl()) if way]


@pytest.mark.parametrize("way", WAYS)
@given(parts=st.lists(st.binary(max_size=300), max_size=6), kept=st.integers(0, 6))
def test_any_cut_with_a_snapshot_between_gives_what_hashlib_gives(way, parts, kept):
    digest = Sha256(way)
    for i, part in enumerate(parts):
        if i == kept:
            arrays, digest = digest.snapshot(), Sha256(way)
            digest.restore(arrays)
        digest.update(part)
    assert digest.hexdigest() == hashlib.sha256(b"".join(parts)).hexdigest()


@given(st.binary(min_size=64, max_size=64), st.lists(st.integers(0, 2**32 - 1), min_size=8, max_size=8))
def test_blocks_equal_the_twin(block, words):
    for way in WAYS:
        state = np.array(words, np.uint32)
        way(block, state)
        assert state.tolist() == naive.compress(block, words, sha256._K.tolist())
