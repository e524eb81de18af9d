"""Land masks and missing times: left out of the rows, and back as NaN."""

import numpy as np
import pytest
import xarray as xr

from dask_exa.preprocessing import FieldStacker
from tests.preprocessing.films import film, with_gaps


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("sample_dims", ["time", ("y", "x"), ("time", "y", "x")])
def test_missing_values_are_left_out_and_come_back(lazy, sample_dims):
    X = with_gaps(film())
    given = X.chunk(time=4, y=3) if lazy else X
    stacker = FieldStacker(sample_dims, drop_missing=True).fit(given)
    rows = stacker.transform(given)
    n_land, n_missing = 2, 1
    shapes = {"time": (5, 10), ("y", "x"): (10, 5), ("time", "y", "x"): (5 * 10, 1)}
    assert rows.shape == shapes[sample_dims]
    assert not np.isnan(rows).any()
    assert (~stacker.feature_mask_).sum() == {"time": n_land, ("y", "x"): n_missing}.get(
        sample_dims, 0
    )
    for form in (rows, rows.values):
        xr.testing.assert_identical(stacker.inverse_transform(form).compute(), X)


def test_new_samples_may_be_missing():
    stacker = FieldStacker("time", drop_missing=True).fit(with_gaps(film()))
    new = with_gaps(film(5, start=1))  # its steps are 1 to 5, the second one missing
    rows = stacker.transform(new)
    assert rows.coords["sample"].values.tolist() == [0, 2, 3, 4]
    xr.testing.assert_identical(stacker.inverse_transform(rows), new.isel(time=[0, 2, 3, 4]))
    whole = film(5, start=40)
    back = stacker.inverse_transform(stacker.transform(whole))
    land = (whole.y > 2) & (whole.x == "b")
    xr.testing.assert_identical(back, whole.where(~land))
    with pytest.raises(ValueError, match="X has 3 rows, which is not the 5 that are kept"):
        stacker.inverse_transform(rows.values[:3])


def test_maps_have_gaps_where_samples_were_missing():
    X = with_gaps(film())
    stacker = FieldStacker(("y", "x"), drop_missing=True).fit(X)
    found = stacker.unstack_samples(np.arange(10))
    wanted = np.full((4, 3), np.nan)
    wanted[~np.isnan(X[0].values)] = np.arange(10)
    np.testing.assert_array_equal(found, wanted)
