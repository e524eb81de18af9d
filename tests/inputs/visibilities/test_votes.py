"""Votes of the array: their law, their sums, and dumps in blocks of baselines and channels."""

import numpy as np
import pytest

from dask_exa.datasets import Interferometer
from dask_exa.inputs.visibilities import SkyResidual, Votes, fit_in_blocks, vote_in_blocks
from dask_exa.inputs.visibilities.dumps import dumps_of
from dask_exa.inputs.visibilities.field_modes import field_modes, make_fit
from dask_exa.inputs.visibilities.votes import CAP, outlying_channels, standard_scores, vote_law
from dask_exa.kernels.visibilities import Baselines, fit_visibilities


def test_law_of_a_vote_about_noise():
    votes = np.minimum(np.random.default_rng(0).exponential(size=2_000_000), CAP)
    mean, variance = vote_law()
    assert votes.mean() == pytest.approx(mean, rel=3e-3)
    assert votes.var() == pytest.approx(variance, rel=5e-3)


@pytest.mark.parametrize("seed", range(3))
def test_noise_is_flagged_at_the_rate_that_is_asked_for(seed):
    """1 % of 2400 channels and dumps without any interference: 24 ± 15."""
    screen = SkyResidual(false_alarm_rate=0.01)
    simulation = Interferometer(20, 80, noise=1.0, sky=6, seed=seed)
    n_flagged = sum(screen.observe(step)[0].interference.sum() for step in simulation.run(30))
    assert 5 <= n_flagged <= 45


@pytest.mark.parametrize("amplitude", [1.0, 2.0])
def test_interference_below_the_noise_of_a_visibility(amplitude):
    """Noise is 4.2 Jy of a visibility; 435 baselines see what is a quarter to half of it."""
    event = {"timestep": 4, "kind": "carrier", "channels": (20, 21), "amplitude": 1.2 * amplitude}
    screen = SkyResidual()
    simulation = Interferometer(30, 48, noise=3.0, sky=6, seed=5, inject=event)
    for step in simulation.run(4):
        scores = screen.observe(step)[0].channel_scores
    expected = np.sqrt(435) * (1.2 * amplitude) ** 2 / 18
    assert scores.argmax() == 20
    assert scores[20] > 0.7 * expected
    assert np.delete(scores, 20).max() < 4.5


def _dump(n_stations=16, n_channels=48, **options):
    dump = next(dumps_of(Interferometer(n_stations, n_channels, **options).advance()))
    field = field_modes(dump.uvw, dump.frequency, 0.05)
    is_used = np.arange(n_channels) % 7 != 3
    precision = np.full(len(dump.uvw), 0.5, np.float32)
    is_sound = np.arange(n_stations) != 4
    pairs = Baselines(dump.antenna1, dump.antenna2, precision, is_sound)
    rng = np.random.default_rng(0)
    prior = rng.standard_normal((len(dump.uvw), field.modes.shape[1])).astype(np.complex64)
    for b, group in enumerate(field.group):
        prior[b, field.n_modes[group] :] = 0
    return dump, make_fit(field, is_used)[0], pairs, is_used, prior


@pytest.mark.parametrize("n_blocks", [1, 3, 5])
def test_blocks_of_baselines_and_channels_vote_as_the_whole(n_blocks):
    """Ranks have some baselines each, and their channels in several blocks."""
    dump, fit, pairs, is_used, prior = _dump()
    dump.visibility[3, 7] = np.nan
    whole = fit_visibilities(dump.visibility, prior, fit, pairs, is_used, CAP)
    votes, coefficients = [], []
    for rows in np.array_split(np.arange(len(dump.uvw)), n_blocks):
        part = fit._replace(group=fit.group[rows])
        own = Baselines(*(x[rows] for x in pairs[:3]), pairs.is_sound)
        blocks = np.array_split(dump.visibility[rows], n_blocks, axis=1)
        found = fit_in_blocks(blocks, prior[rows], part, own, is_used)
        coefficients.append(found)
        votes.append(vote_in_blocks(blocks, found, part, own, is_used))
    np.testing.assert_allclose(np.concatenate(coefficients), whole.coefficients, atol=1e-4)
    together = votes[0].merge(*votes[1:])
    for found, exact in zip(together, Votes.of(whole), strict=True):
        np.testing.assert_allclose(found, exact, rtol=2e-4, atol=1e-3)


def test_merging_votes_is_associative():
    rng = np.random.default_rng(0)
    a, b, c = (Votes(rng.random((3, 6)), rng.random((2, 4))) for _ in range(3))
    for left, right in zip(a.merge(b).merge(c), a.merge(b.merge(c)), strict=True):
        np.testing.assert_allclose(left, right)


def test_all_channels_of_a_rank_are_needed():
    dump, fit, pairs, is_used, prior = _dump()
    with pytest.raises(ValueError, match="blocks have 40 channels together, but is_used has 48"):
        fit_in_blocks([dump.visibility[:, :40]], prior, fit, pairs, is_used)


def test_outlying_channels_whatever_the_others_have_in_common():
    rng = np.random.default_rng(0)
    sums = np.array([100.0 * (3 + 0.1 * rng.standard_normal(50)), np.full(50, 100.0), np.ones(50)])
    sums[0, [4, 30]] += 200
    sums[:, 9] = 0
    found = outlying_channels(Votes(sums, np.ones((2, 3))), 5.0)
    assert found.nonzero()[0].tolist() == [4, 9, 30]


def test_scores_where_nobody_has_voted_are_zero():
    assert standard_scores(np.zeros((3, 2))).tolist() == [0, 0]
