"""One block to bytes and back: the bound holds for whatever comes, and nobody codes it smaller."""

import warnings

import h5py
import numpy as np
import pysz
import pytest
import zfpy
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dask_exa.compression import (
    Basis,
    Bound,
    Choice,
    choose_transform,
    decode_block,
    describe_block,
    encode_block,
    separable,
)

SHAPES = [(), (1,), (2,), (63,), (64,), (500,), (1, 70), (9, 8), (17, 33), (6, 7, 8), (4, 4, 4, 4),
          (3, 1, 4, 5, 6), (2, 3, 2, 3, 2, 3)]  # fmt: skip
DTYPES = ["f2", "f4", "f8", ">f4", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "c8", "c16"]
HEADING = 24
"""Bytes that our heading of a block takes at most."""


@st.composite
def blocks(draw):
    """Smooth, rough, spiky and constant fields of all sizes of number, with holes in them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape, dtype = draw(st.sampled_from(SHAPES)), np.dtype(draw(st.sampled_from(DTYPES)))
    kind = draw(st.sampled_from(["smooth", "noise", "spikes", "constant", "few values"]))
    values = rng.standard_normal(shape)
    if kind == "smooth":
        phases = [rng.uniform(1, 4) * np.arange(size) / max(size, 1) for size in shape]
        values = sum(np.ix_(*phases)) if shape else values
        values = np.sin(np.broadcast_to(values, shape))
    elif kind == "spikes":
        values = np.where(rng.random(shape) < 0.05, 1e4 * values, values)
    elif kind == "constant":
        values = np.full(shape, values.reshape(-1)[0] if values.size else 0.0)
    elif kind == "few values":
        values = np.round(values)
    exponent = 3 if dtype.itemsize <= 2 else draw(st.sampled_from([-30, -3, 0, 3, 30]))
    values = values * 2.0**exponent + draw(st.sampled_from([0, 0, 1, 1000]))
    if dtype.kind == "c":
        values = values + 1j * rng.permutation(values.reshape(-1)).reshape(shape)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.clip(values, limits.min, min(limits.max, 2**62))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        block = np.asarray(values).astype(dtype)
    if dtype.kind in "fc" and draw(st.booleans()):
        hole = rng.random(shape) < draw(st.sampled_from([0.01, 0.3, 1.0]))
        block[hole] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    return block


bounds = st.one_of(
    st.builds(Bound, st.sampled_from(["rel", "l2"]), st.sampled_from([0, 1e-9, 1e-4, 1e-2, 0.5])),
    st.builds(Bound, st.just("abs"), st.sampled_from([0, 1e-7, 0.01, 1.0, 700.0])),
    st.builds(Bound, st.just("psnr"), st.sampled_from([5.0, 40.0, 90.0, np.inf])),
)


def assert_within(bound, block, decoded):
    """Check a bound by its definition, in the longest numbers there are."""
    assert decoded.dtype == block.dtype
    assert decoded.shape == block.shape
    finite = np.isfinite(block)
    bits = f"V{block.dtype.itemsize}"
    assert (block[~finite].view(bits) == decoded[~finite].view(bits)).all()
    long = np.clongdouble if block.dtype.kind == "c" else np.longdouble
    x, y = block[finite].astype(long), decoded[finite].astype(long)
    if not x.size:
        return
    error = np.abs(x - y)
    span = max(np.ptp(x.real), np.ptp(x.imag))
    slack = 1 + 1e-12
    if bound.kind == "abs":
        assert error.max() <= bound.value * slack
    elif bound.kind == "rel":
        assert error.max() <= bound.value * span * slack
    elif bound.kind == "l2":
        assert np.sqrt((error**2).sum()) <= bound.value * np.sqrt((np.abs(x) ** 2).sum()) * slack
    else:
        allowed = span * np.longdouble(10) ** (-np.longdouble(bound.value) / 20)
        assert np.sqrt((error**2).mean()) <= allowed * slack


@settings(max_examples=250)
@given(blocks(), bounds)
@example(np.zeros((0, 3), "f4"), Bound("rel", 1e-3))
@example(np.array([[1, -1]], "i1"), Bound("abs", 300))
@example(np.array([np.nan], "c8"), Bound("l2", 0.1))
def test_no_bound_is_ever_broken(block, bound):
    data = encode_block(block, bound)
    assert_within(bound, block, decode_block(data))
    assert len(data) <= block.nbytes + 100 + block.size // 4  # the mask of what is not finite


@settings(max_examples=60)
@given(blocks(), bounds, st.sampled_from([(4, 4), (2, 2), (8,)]))
def test_no_bound_is_broken_with_a_basis(block, bound, patch):
    rng = np.random.default_rng(0)
    size = int(np.prod(patch))
    basis = Basis(rng.standard_normal(size), np.linalg.qr(rng.standard_normal((size, size)))[0],
                  patch)  # fmt: skip
    data = encode_block(block, bound, transforms=["patch-klt", "basis"], basis=basis)
    assert_within(bound, block, decode_block(data, basis=basis))


@settings(max_examples=60)
@given(
    blocks(), bounds, st.sampled_from([Choice("tucker"), Choice("sz3"), Choice("zfp"),
                                       Choice("lossless"), Choice("tucker", "kk", 2.0)])
)  # fmt: skip
def test_no_bound_is_broken_by_a_choice_made_elsewhere(block, bound, choice):
    assert_within(bound, block, decode_block(encode_block(block, bound, choose=choice)))


@pytest.mark.parametrize("coarser", [1.02, 3.0])
def test_a_coder_that_is_too_coarse_is_found_out(monkeypatch, coarser):
    step_for = separable.step_for
    monkeypatch.setattr(separable, "step_for", lambda *given: coarser * step_for(*given))
    block = np.random.default_rng(0).standard_normal((64, 64)).cumsum(0).cumsum(1)
    data = encode_block(block, Bound("l2", 1e-3))
    assert_within(Bound("l2", 1e-3), block, decode_block(data))
    assert (describe_block(data).transform == "tucker") == (coarser < 2)


def test_a_block_without_bound_is_exact_to_the_bit():
    block = np.random.default_rng(0).standard_normal((40, 50)).astype("f4")
    block[3, 4:9] = np.frombuffer(np.uint32(0x7FC12345).tobytes(), "f4")  # a NaN with a payload
    block[5, 5] = -0.0
    decoded = decode_block(encode_block(block, Bound("rel", 0)))
    np.testing.assert_array_equal(decoded.view("u4"), block.view("u4"))
    lossy = decode_block(encode_block(block, Bound("rel", 1e-2)))
    np.testing.assert_array_equal(lossy.view("u4")[3, 4:9], block.view("u4")[3, 4:9])


def test_constants_take_a_few_bytes():
    block = np.full((64, 64), 3.25, "f4")
    data = encode_block(block, Bound("rel", 1e-3))
    assert len(data) < 30
    np.testing.assert_array_equal(decode_block(data), block)


def sz3_size(values, largest):
    config = pysz.szConfig(values.shape)
    config.errorBoundMode, config.absErrorBound = pysz.szErrorBoundMode.ABS, float(largest)
    return len(pysz.sz.compress(values, config)[0])


def fields(shared_data):
    with h5py.File(shared_data / "tokam2d/sol/simulation_fields.h5") as file:
        yield file["potential"][100:116]
        yield file["density"][100:116]
    with h5py.File(shared_data / "pygyro/ref_f.h5") as file:
        yield file["f"][-1]


@pytest.mark.parametrize("relative", [1e-2, 1e-3, 1e-4])
def test_real_fields_are_never_larger_than_by_the_peers(shared_data, relative):
    for block in fields(shared_data):
        bound = Bound("rel", relative)
        largest = relative * float(np.ptp(block))
        data = encode_block(block, bound)
        assert_within(bound, block, decode_block(data))
        folded = block if block.ndim <= 3 else block.reshape(-1, *block.shape[2:])
        assert len(data) <= sz3_size(folded, largest) + HEADING
        assert len(data) <= len(zfpy.compress_numpy(block, tolerance=largest)) + HEADING


def l2_size_of_sz3(block, relative):
    """Return the bytes of SZ3 at the largest bound whose relative L2 error is allowed."""

    def error(largest):
        config = pysz.szConfig(block.shape)
        config.errorBoundMode, config.absErrorBound = pysz.szErrorBoundMode.ABS, float(largest)
        coded = pysz.sz.compress(block, config)[0]
        decoded = pysz.sz.decompress(coded, block.dtype, block.shape)[0]
        return np.linalg.norm(decoded - block) / np.linalg.norm(block), len(coded)

    low, high = 1e-7 * np.ptp(block), np.ptp(block)
    for _ in range(14):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if error(middle)[0] <= relative else (low, middle)
    return error(low)[1]


def test_turbulence_takes_two_thirds_of_sz3_at_equal_l2(shared_data):
    with h5py.File(shared_data / "tokam2d/sol/simulation_fields.h5") as file:
        both = [file[name][100:116] for name in ("density", "potential")]
    for relative in (1e-2, 1e-3):
        for block in both:
            data = encode_block(block, Bound("l2", relative))
            assert_within(Bound("l2", relative), block, decode_block(data))
            ours = len(data)
            assert l2_size_of_sz3(block, relative) > 1.5 * ours


def test_smooth_fields_of_many_dimensions_take_a_few_modes():
    x = np.linspace(0, 1, 24)
    f = np.exp(-np.add.outer(np.add.outer(x**2, 3 * x), np.add.outer(x, x**2))).astype("f4")
    f = f * (1 + 0.1 * np.sin(7 * x))[:, None, None, None]
    data = encode_block(f, Bound("l2", 1e-4))
    assert describe_block(data).transform == "tucker"
    assert f.nbytes / len(data) > 500


def test_a_choice_is_followed_until_it_disappoints():
    x = np.linspace(0, 6, 64, dtype="f4")
    smooth = np.sin(x)[:, None] * np.cos(x)
    rough = np.random.default_rng(0).standard_normal((64, 64)).astype("f4")
    bound = Bound("rel", 1e-3)
    choice = choose_transform(smooth, bound)
    assert choice.transform == "tucker"
    assert encode_block(smooth, bound, choose=choice) == encode_block(smooth, bound)
    assert encode_block(rough, bound, choose=choice) == encode_block(rough, bound)
    kept = encode_block(smooth, bound, choose=Choice("zfp"))
    assert describe_block(kept).transform == "zfp"


def test_modes_of_the_block_itself_code_it_in_a_few_numbers():
    rng = np.random.default_rng(0)
    modes = rng.standard_normal((3, 40 * 50))
    steps = rng.standard_normal((20, 3)) @ modes
    basis = Basis(np.zeros(2000), np.linalg.svd(steps, full_matrices=False)[2][:3], (40, 50))
    block = (rng.standard_normal(3) @ modes).reshape(40, 50)
    bound = Bound("l2", 1e-2)
    data = encode_block(block, bound, basis=basis)
    assert describe_block(data).transform == "basis"
    assert len(data) < 100 < len(encode_block(block, bound)) / 5
    assert_within(bound, block, decode_block(data, basis=basis))
    together = np.stack([block, 2 * block])
    data = encode_block(together, bound, basis=basis)
    assert describe_block(data).transform == "basis"
    assert_within(bound, together, decode_block(data, basis=basis))
    with pytest.raises(ValueError, match=f"basis '{basis.name}', none was given"):
        decode_block(data)
    other = Basis(np.zeros(4), np.eye(4), (2, 2))
    with pytest.raises(ValueError, match=f"'{other.name}' was given"):
        decode_block(data, basis=other)


def test_damaged_bytes_are_refused():
    block = np.random.default_rng(0).standard_normal((30, 30))
    data = encode_block(block, Bound("abs", 0.1))
    with pytest.raises(ValueError, match="damaged"):
        decode_block(b"\x00" + data[1:])


@pytest.mark.parametrize("transforms", [["tucker"], ["sz3"], ["zfp"], []])
def test_blocks_that_are_cut_off_are_refused(transforms):
    block = np.random.default_rng(0).standard_normal((20, 20)).cumsum(0).cumsum(1)
    block[3, 4] = np.nan
    data = encode_block(block, Bound("rel", 1e-3), transforms=transforms)
    assert describe_block(data).transform == (transforms or ["lossless"])[0]
    for size in range(len(data)):
        with pytest.raises(ValueError, match="cut off"):
            decode_block(data[:size])


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        (Bound("max", 1), "bound.kind='max' must be"),
        (Bound("abs", -1), "bound.value=-1"),
        (Bound("l2", np.nan), "bound.value=nan"),
        (Bound("rel", np.inf), "must be finite"),
    ],
)
def test_bounds_that_are_none(bound, message):
    with pytest.raises(ValueError, match=message):
        encode_block(np.zeros(3), bound)


def test_what_cannot_be_coded():
    with pytest.raises(TypeError, match="no number"):
        encode_block(np.array(["a"]), Bound("abs", 1))
    with pytest.raises(ValueError, match="transforms='wavelets'"):
        encode_block(np.zeros(3), Bound("abs", 1), transforms=["wavelets"])
