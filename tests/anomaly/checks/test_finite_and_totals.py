"""Signs, totals that stay or only go one way, and the solver's time step."""

import numpy as np
import pytest
import xarray as xr

from dask_exa.anomaly import FieldMonitor
from dask_exa.anomaly.checks import Finite, Positive, TimeStep, Total, conserved


def field(values, timestep=0, **coords):
    values = np.asarray(values, dtype=float)
    dims = ("y", "x")[-values.ndim :]
    return xr.Dataset(
        {"u": (dims, values)}, coords={"timestep": timestep, "time": timestep, **coords}
    )


def alarms(monitor, fields):
    return [monitor.observe(field(values, i)).alarms for i, values in enumerate(fields)]


def test_share_of_values_that_are_not_finite():
    values = np.ones((4, 8))
    values[1, :3] = np.nan, np.inf, -np.inf
    seen = FieldMonitor(Finite("u"), blocks={"y": 2}).observe(field(values))
    assert seen.features.shape == (2, 0)
    (alarm,) = seen.alarms
    assert alarm.block == ((0, 1), (0, 7))
    assert "0.188 of the values of u are not finite" in alarm.reason


def test_negative_share_is_that_of_the_integral():
    values = np.array([3.0, -1.0, 0.0, 4.0])
    seen = FieldMonitor(Positive("u", limit=0.1, always=True)).observe(field(values))
    assert seen.alarms[0].reason == (
        "u must be positive: 0.125 of its integral is negative, more than 0.1; the smallest value "
        "is -1."
    )
    assert seen.alarms[0].score == pytest.approx(1.25)
    assert not FieldMonitor(Positive("u", limit=0.2, always=True)).observe(field(values)).alarms


def test_what_was_negative_at_the_start_may_be_negative():
    signed, positive = np.array([1.0, -1.0]), np.array([1.0, 2.0])
    assert alarms(FieldMonitor(Positive("u")), [signed, positive, signed]) == [[], [], []]
    found = alarms(FieldMonitor(Positive("u"), blocks=2), [positive, signed])
    assert found[1][0].block == ((1, 1),)


@pytest.mark.parametrize(
    ("goes", "off"), [("stays", [0, 0, 1, 1]), ("falls", [0, 0, 1, 0]), ("rises", [0, 1, 0, 1])]
)
def test_total_goes_the_wrong_way(goes, off):
    totals = [10.0, 9.95, 10.2, 8.0]
    fields = [np.full((2, 5), total / 10) for total in totals]
    found = alarms(
        FieldMonitor(Total("u", goes=goes, limit=0.01 if goes != "rises" else 0.001)), fields
    )
    assert [len(step) for step in found] == off


def test_total_is_compared_with_the_extreme_or_with_the_start():
    fields = [[10.0], [9.0], [9.5]]
    assert len(alarms(FieldMonitor(Total("u", goes="falls", limit=0.01)), fields)[2]) == 1
    since = Total("u", goes="falls", limit=0.01, since_start=True)
    assert alarms(FieldMonitor(since), fields)[2] == []


def test_reason_has_the_numbers():
    (_, (alarm,)) = alarms(FieldMonitor(conserved("u", what="mass")), [[2.0, 2.0], [2.0, 2.1]])
    assert alarm.reason == (
        "the mass of u must stay: it is 4.1 where it was 4, off by 0.025 of that, more than 0.001."
    )
    assert alarm.score == pytest.approx(25)
    assert alarm.features == ("u: change of mass",)


def test_square_maximum_and_callable():
    steps = [np.array([3.0, 4.0]), np.array([3.0, 5.0])]
    checks = [
        Total("u", "square"),
        Total("u", "maximum", what="maximum"),
        Total("u", lambda block: np.sum(block["u"] ** 3), what="cube"),
    ]
    monitor = FieldMonitor(checks, blocks=2)
    for i, values in enumerate(steps):
        seen = monitor.observe(field(values, i))
    expected = [34 / 25 - 1, 5 / 4 - 1, 152 / 91 - 1]
    np.testing.assert_allclose(seen.features, [expected, expected])


def test_integrals_weigh_with_the_radius_and_with_the_level():
    step = xr.Dataset({"u": (("r", "z"), np.ones((3, 2)))}, coords={"r": [1.0, 2.0, 4.0]})
    weigh = Total("u", lambda block: block.integral("u", block["u"]))
    monitor = FieldMonitor(weigh)
    monitor.observe(step)
    assert monitor.state.rows[0, 0] == 14
    cells = xr.Dataset({"rho": ("cell", [1.0, 1.0]), "level": ("cell", np.array([1, 2]))})
    monitor = FieldMonitor(conserved("rho"))
    monitor.observe(cells)
    assert monitor.state.rows[0, 0] == 2**-2 + 2**-4


@pytest.mark.parametrize(("last", "fails"), [(2.5e-4, False), (1e-9, True), (0.0, True)])
def test_time_step_collapses(last, fails):
    monitor = FieldMonitor(TimeStep())
    for i, dt in enumerate([3e-4, 3.3e-4, 3.4e-4, last]):
        seen = monitor.observe(field([1.0], i, dt=dt))
    assert bool(seen.alarms) == fails


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"goes": "up"}, "goes='up'"),
        ({"integrand": "cube"}, "integrand='cube'"),
        ({"limit": -1.0}, "limit=-1.0"),
    ],
)
def test_total_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        Total("u", **options)
