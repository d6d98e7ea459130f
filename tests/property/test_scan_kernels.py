import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.learning import scan
from pipeline.training.rendering.saccades import whiten
from tests.reference import scan as naive


@given(st.integers(0, 2**32), st.floats(0, 20), st.floats(0, 20))
def test_a_slid_texture_is_the_fourier_shift(seed, top, left):
    texture = whiten(np.random.default_rng(seed).standard_normal((64, 80)).astype(np.float32))
    at = np.array([scan.REACH + top]), np.array([scan.REACH + left])
    (frame,) = scan.slide(texture, *at, 16)
    np.testing.assert_allclose(
        frame, naive.window(texture, at[0][0], at[1][0], 16), atol=0.04 * texture.std()
    )


def test_a_window_beyond_the_texture_is_refused():
    with pytest.raises(ValueError, match="6 pixels inside"):
        scan.slide(np.zeros((32, 32), np.float32), np.array([12.0]), np.array([15.0]), 12)


@given(st.integers(0, 2**32), st.floats(0.125, 3, width=32))
def test_the_retina_equals_its_twin(seed, theta):
    frames = np.random.default_rng(seed).standard_normal((7, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(scan.retina(frames, theta), naive.retina(frames, np.float32(theta)))
