"""The compressor of a run: what it learns, chooses, keeps and gives back."""

import pickle

import h5py
import numpy as np
import pytest
import xarray as xr
from sklearn.exceptions import NotFittedError

from dask_exa.compression import Basis, Bound, FieldCompressor, describe_block
from dask_exa.compression.basis import cut, join, outside

RNG = np.random.default_rng(0)
MODES = np.linalg.qr(RNG.standard_normal((32 * 32, 6)))[0].T.reshape(6, 32, 32)


def coherent(n_steps, modes=MODES[:3], seed=0):
    """Steps of three rough modes, which no other transform knows."""
    rng = np.random.default_rng(seed)
    return [{"u": np.tensordot(rng.standard_normal(len(modes)) * 30, modes, 1).astype("f4")}
            for _ in range(n_steps)]  # fmt: skip


def error_of(compressor, step, name="u"):
    decoded = compressor.decode(compressor.encode(step))[name]
    return np.linalg.norm(decoded - step[name]) / np.linalg.norm(step[name])


def test_coherent_fields_are_a_few_numbers_once_their_modes_are_known():
    steps = coherent(20)
    compressor = FieldCompressor(Bound("l2", 1e-2), n_modes=4, patch=(8, 8))
    before = len(compressor.encode(steps[0])["u"])
    compressor.fit(steps)
    coded = compressor.encode(steps[-1])
    assert describe_block(coded["u"]).transform == "basis"
    assert len(coded["u"]) < 80 < before / 10
    assert error_of(compressor, steps[-1]) <= 1e-2
    assert compressor.n_steps_seen_ == 20
    assert compressor.choices_["u"][(32, 32)].transform == "basis"
    assert [(n, basis.patch) for n, basis in compressor.bases_["u"]] == [
        (8, (32, 32)),
        (8, (8, 8)),
    ]


def test_a_block_of_several_steps_uses_the_modes_of_one():
    steps = coherent(20)
    compressor = FieldCompressor(Bound("rel", 1e-3), n_modes=4).fit(steps)
    block = np.stack([step["u"] for step in steps[:5]])
    data, basis = compressor.encode_field("u", block)
    assert basis is not None
    assert basis.patch == (32, 32)
    decoded = compressor.decode({"u": data})["u"]
    assert np.abs(decoded - block).max() <= 1e-3 * np.ptp(block)


def test_modes_are_learnt_again_when_the_fields_change():
    before, after = coherent(20), coherent(40, MODES[3:], seed=1)
    compressor = FieldCompressor(Bound("l2", 1e-2), n_modes=6, n_learning_steps=6)
    compressor.fit(before)
    early = compressor.encode(before[-1])
    versions = {basis.version for _, basis in compressor.bases_["u"]}
    assert versions == {0}
    for step in after:
        compressor.partial_fit(step)
    newest = max(basis.version for _, basis in compressor.bases_["u"])
    assert newest >= 1
    late = compressor.encode(after[-1])
    assert describe_block(late["u"]).transform == "basis"
    assert len(late["u"]) < 120
    assert error_of(compressor, after[-1]) <= 1e-2
    decoded = compressor.decode(early)["u"]  # of the first version
    assert np.linalg.norm(decoded - before[-1]["u"]) <= 1e-2 * np.linalg.norm(before[-1]["u"])


def test_steady_noise_is_no_drift():
    steps = [{"u": np.random.default_rng(i).standard_normal((32, 32))} for i in range(40)]
    compressor = FieldCompressor(Bound("l2", 1e-2)).fit(steps)
    assert {basis.version for _, basis in compressor.bases_["u"]} == {0}


def test_bases_of_an_earlier_run_work_from_the_first_step():
    earlier = FieldCompressor(Bound("l2", 1e-2), n_modes=4).fit(coherent(20))
    _, basis = earlier.bases_["u"][0]
    basis = Basis.from_bytes(basis.to_bytes())
    step = coherent(1, seed=7)[0]
    compressor = FieldCompressor(Bound("l2", 1e-2), bases={"u": basis})
    coded = compressor.encode(step)
    assert len(coded["u"]) < 80
    decoded = compressor.decode(coded)["u"]
    assert np.linalg.norm(decoded - step["u"]) <= 1e-2 * np.linalg.norm(step["u"])


def test_merged_compressors_know_the_modes_of_both():
    half = FieldCompressor(Bound("l2", 1e-3), n_modes=6, n_learning_steps=6)
    one = pickle.loads(pickle.dumps(half)).fit(coherent(5))
    other = pickle.loads(pickle.dumps(half)).fit(coherent(5, MODES[3:], seed=1))
    both = one | other
    assert both.n_steps_seen_ == 10
    assert one.n_steps_seen_ == 5
    both.partial_fit(coherent(1, MODES, seed=2)[0])  # is due: the basis is of what was merged
    basis = both.bases_["u"][0][1]
    assert basis.n_components == 6
    inside = MODES.reshape(6, -1) @ basis.modes
    # of six modes that differ in the mean only five are seen beside it
    assert np.linalg.svd(inside, compute_uv=False)[:5].min() > 0.99


def test_fields_of_all_kinds_keep_their_bounds(shared_data):
    with h5py.File(shared_data / "tokam2d/sol/simulation_fields.h5") as file:
        steps = [
            xr.Dataset(
                {
                    "density": (("y", "x"), file["density"][i]),
                    "hole": (("y", "x"), np.where(np.arange(128) < 9, np.nan, file["density"][i])),
                    "spectrum": (("y", "x"), np.fft.fft2(file["potential"][i]).astype("c8")),
                    "cells": (("y", "x"), (1e4 * file["density"][i]).astype("i4")),
                    "flag": (("y",), np.arange(128) < i),
                    "time": ((), np.float64(i)),
                }
            )
            for i in range(12)
        ]
    compressor = FieldCompressor(Bound("l2", 1e-3)).fit(steps)
    coded = compressor.encode(steps[-1])
    decoded = compressor.decode(coded)
    for name, field in steps[-1].data_vars.items():
        values, back = field.values, decoded[name]
        assert back.dtype == values.dtype
        assert (np.isnan(back) == np.isnan(values)).all()
        error, size = (np.sqrt(np.nansum(np.abs(x) ** 2.0)) for x in (
            back.astype("c16") - values, values.astype("c16")))  # fmt: skip
        assert error <= 1e-3 * size
    np.testing.assert_array_equal(decoded["flag"], steps[-1]["flag"])
    assert len(coded["density"]) < steps[-1]["density"].nbytes / 8


def test_patches_go_back_where_they_were():
    block = RNG.standard_normal((5, 13, 9))
    for patch in [(4, 4), (2, 4, 3), (9,), (13, 9), (5, 13, 9)]:
        patches = cut(block, patch)
        assert patches.shape[1] == np.prod(patch)
        np.testing.assert_array_equal(join(patches, block.shape, patch), block)
    with pytest.raises(ValueError, match="does not fit"):
        cut(block, (1, 1, 1, 1))


def test_a_basis_is_the_same_after_a_trip():
    basis = Basis(RNG.standard_normal(12), RNG.standard_normal((5, 12)), (3, 4), version=2)
    back = Basis.from_bytes(basis.to_bytes())
    assert (back.name, back.patch, back.version, back.n_components) == (basis.name, (3, 4), 2, 5)
    np.testing.assert_array_equal(back.modes, basis.modes)
    np.testing.assert_allclose(basis.modes.T @ basis.modes, np.eye(5), atol=1e-12)
    assert pickle.loads(pickle.dumps(basis)) == basis
    with pytest.raises(ValueError, match="cut off"):
        Basis.from_bytes(basis.to_bytes()[:-4])
    with pytest.raises(ValueError, match="those of a basis"):
        Basis.from_bytes(b"something")
    with pytest.raises(ValueError, match="do not belong to patch"):
        Basis(np.zeros(3), np.zeros((2, 4)), (2, 2))
    with pytest.raises(ValueError, match="finite"):
        Basis(np.full(4, np.nan), np.zeros((2, 4)), (2, 2))


def test_a_basis_of_a_smaller_run_serves_a_larger_one():
    def steps(n, count, seed):
        rng = np.random.default_rng(seed)
        x = (np.arange(n) + 0.5) / n
        rough = np.abs(x - 0.4), np.exp(-(((x - 0.7) / 0.05) ** 2)), x**3
        shapes = [np.outer(a, b) for a in rough for b in rough]
        return [{"u": np.tensordot(rng.standard_normal(9), shapes, 1)} for _ in range(count)]

    small = FieldCompressor(Bound("l2", 1e-2), n_modes=9, n_learning_steps=12)
    small.fit(steps(32, 13, 0))
    basis = small.bases_["u"][0][1].resampled((64, 64))
    step = steps(64, 1, 1)[0]
    assert outside(step["u"], basis) < 1e-4
    large = FieldCompressor(Bound("l2", 1e-2), bases={"u": basis}, transforms=["basis"])
    assert describe_block(large.encode(step)["u"]).transform == "basis"
    decoded = large.decode(large.encode(step))["u"]
    assert np.linalg.norm(decoded - step["u"]) <= 1e-2 * np.linalg.norm(step["u"])
    with pytest.raises(ValueError, match="must have 2 dimensions"):
        basis.resampled((64,))


def test_what_is_refused():
    with pytest.raises(NotFittedError, match="partial_fit"):
        FieldCompressor(Bound("l2", 0.1)).choices_  # noqa: B018
    with pytest.raises(TypeError, match="Dataset or a mapping"):
        FieldCompressor(Bound("l2", 0.1)).partial_fit(np.zeros(3))
    with pytest.raises(ValueError, match="n_modes=-1"):
        FieldCompressor(Bound("l2", 0.1), n_modes=-1).partial_fit({"u": np.zeros(3)})
    with pytest.raises(ValueError, match="bound\\.kind='l3'"):
        FieldCompressor(Bound("l3", 0.1)).encode({"u": np.zeros(3)})
