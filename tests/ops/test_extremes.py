import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from aljax.ops import extremes

SHAPES = [(1,), (7,), (3, 5), (2, 3, 4)]
VALUES = st.sampled_from([-np.inf, -2.0, 0.0, 1.0, 1.5, np.inf])  # with many ties
of_axis = {name: jax.jit(getattr(extremes, name), static_argnums=1) for name in ("argmax", "argmin")}


@pytest.mark.parametrize("name", of_axis)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_first_of_the_extreme_values_as_numpy_has_it(name, data):
    shape = data.draw(st.sampled_from(SHAPES))
    values = data.draw(arrays.arrays(np.float32, shape, elements=VALUES))
    for axis in range(-len(shape), len(shape)):
        found = np.asarray(of_axis[name](values, axis))
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, getattr(np, name)(values, axis))
