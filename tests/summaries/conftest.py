"""One test body over every array namespace that summaries run on."""

import array_api_strict
import numpy as np
import pytest

from dask_exa._array import to_host
from dask_exa.summaries.svd import SVDSummary


class Namespace:
    """An array namespace, and how near its results have to be to NumPy's."""

    def __init__(self, xp, rtol):
        self.xp, self.rtol = xp, rtol

    def assert_equal(self, actual, expected):
        """Compare arrays, numbers, or tuples of them, field by field."""
        if isinstance(expected, SVDSummary):  # rounding decides on the signs of its rows
            assert actual.rows.shape == expected.rows.shape
            assert str(actual.rows.dtype).endswith(str(expected.rows.dtype))
            actual, expected = (
                (*summary[2:], summary.moments, xp.matrix_transpose(rows) @ rows)
                for summary, xp, rows in (
                    (actual, self.xp, self.xp.astype(actual.rows, self.xp.float64)),
                    (expected, np, expected.rows.astype(np.float64)),
                )
            )
        if isinstance(expected, tuple):
            assert len(actual) == len(expected)
            for one, other in zip(actual, expected, strict=True):
                self.assert_equal(one, other)
            return
        if isinstance(expected, np.ndarray):
            assert type(actual) is type(self.xp.zeros(1)), "left the namespace on the way"
        actual = to_host(actual) if hasattr(actual, "dtype") else actual
        scale = np.abs(expected).max(initial=0.0) if np.ndim(expected) else abs(expected)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=self.rtol * scale)
        assert np.asarray(actual).dtype == np.asarray(expected).dtype


@pytest.fixture(params=["array_api_strict", pytest.param("cupy", marks=pytest.mark.gpu)])
def namespace(request):
    """Namespace other than NumPy; the strict one has no kernel of its own."""
    if request.param == "cupy":
        import cupy

        return Namespace(cupy, rtol=1e-10)
    return Namespace(array_api_strict, rtol=1e-12)
