"""Bad input is refused in words that name the argument, what came and what to do.

A refusal leaves the estimator as it was, to the last bit.
"""

import warnings

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import sklearn.decomposition
import xarray as xr
from sklearn.exceptions import NotFittedError

from dask_exa.decomposition import IncrementalPCA
from dask_exa.testing.contracts import snapshot

RNG = np.random.default_rng(0)
X = RNG.standard_normal((20, 6)) * np.arange(6, 0, -1) + 3
NAN = np.where(np.arange(120).reshape(20, 6) == 77, np.nan, X)
FILM = xr.DataArray(X.reshape(20, 3, 2), dims=("time", "y", "x"))
FRAME = pd.DataFrame(X, columns=list("abcdef"))


def rows(array, size=5):
    return da.from_array(array, chunks=(size, -1))


def columns(array, width=3):
    return da.from_array(array, chunks=(10, width))


def unknown(array):
    lazy = rows(array)
    return lazy[lazy[:, 0] > 0]


def learn(samples, **weights):
    return lambda estimator: estimator.partial_fit(samples, **weights)


def fit(samples):
    return lambda estimator: estimator.fit(samples)


def merge(samples, *args, **params):
    return lambda estimator: estimator.merge(IncrementalPCA(*args, **params).fit(samples))


def case(name, call, *words):
    """One bad call on an estimator, and the words that its message has to have, in order."""
    return pytest.param(call, "(?s)" + ".*".join(words), id=name)


SAMPLES = [
    case("NaN", learn(NAN), "X contains NaN", "mask, fill or drop"),
    case("infinity", learn(np.where(np.isnan(NAN), np.inf, X)), "X contains", "drop"),
    case("NaN in a chunk", learn(rows(NAN)), "In chunk 2 ", "X contains NaN"),
    case("NaN in labelled X", learn(FILM.where(FILM.min() < FILM)), "X contains"),
    case("too few features", learn(X[:, :4]), "X has 4 features", "expecting 6"),
    case("in chunks", learn(rows(X[:, :4])), "X has 4 features", "expecting 6"),
    case("unknown chunks", learn(unknown(X)), "X has unknown chunk sizes", "nan",
         r"call X.compute_chunk_sizes\(\)"),
    case("no samples", learn(X[:0]), "0 sample", "minimum of 1"),
    case("only empty chunks", learn(rows(X[:0])), "X has no samples in any of"),
    case("no labelled samples", learn(FILM[:0]), "0 sample", "minimum of 1"),
    case("no features", learn(X[:, :0]), "0 feature", "minimum of 1"),
    case("too few for fit", fit(X[:1]), "n_samples=1 is fewer than the 2",
         "n_components=2", "pass more samples or lower n_components"),
    case("chunks too few for fit", fit(rows(X[:1])), "n_samples=1 is fewer", "pass more"),
    case("no variance", fit(np.ones((9, 6))), "variance"),
    case("no variance in chunks", fit(rows(np.ones((9, 6)))), "variance"),
    case("complex", learn(X + 1j), "Complex data not supported", "X has", "pass"),
    case("complex chunks", learn(rows(X + 1j)), "Complex data not supported",
         "X has dtype complex128", "pass real and imaginary parts"),
    case("words in chunks", learn(rows(np.full((4, 6), "a"))), "X has dtype <U1",
         "pass numbers"),
    case("one dimension", learn(X[0]), "Expected 2D array, got 1D", "Reshape"),
    case("one axis of chunks", learn(da.ones(6)), r"shape \(6,\)", r"X\[:, None"),
    case("a Dataset", learn(FILM.to_dataset(name="n")), "X is an xarray.Dataset",
         r"\['n'\]", "pass one variable"),
    case("other fields", learn(FILM.rename(y="z")), "z"),
]  # fmt: skip

NEED_A_FITTED_MODEL = ("too few features", "in chunks", "other fields")

LAYOUTS = [
    case("split", learn(columns(X)), "X comes with its features in 2 chunks",
         "layout='auto'", "by rows", "rechunk X as before"),
    case("a basis in memory and one of slabs", merge(columns(X), 2),
         "cannot merge a model whose basis is split", "fit both in the same layout"),
]  # fmt: skip

MODELS = [
    case("features", merge(X[:, :4], 2), "features are 4",
         "features are 6", "fit both on the same features"),
    case("parameters", merge(X, 3), "n_components=2",
         "fitted with n_components=3", "set it back, or fit anew"),
    case("solver", merge(X, 2, solver="qr"), "solver='auto'",
         "fitted with solver='qr'"),
    case("class", lambda e: e.merge(sklearn.decomposition.IncrementalPCA(2).fit(X)),
         "cannot merge a IncrementalPCA", "same class"),
    case("no model", lambda e: e.merge(X), "cannot merge a ndarray", "models of the same class"),
]  # fmt: skip

WEIGHTS = [
    case("too many", learn(X, sample_weight=np.ones(21)), "sample_weight has shape",
         r"\(21,\)", "X has 20 samples"),
    case("negative", learn(X, sample_weight=-np.ones(20)), "sample_weight has",
         "weights >= 0"),
    case("NaN", learn(X, sample_weight=np.full(20, np.nan)), "sample_weight has",
         "weights >= 0"),
    case("infinite", learn(X, sample_weight=np.full(20, np.inf)), "sample_weight"),
    case("zero", learn(X, sample_weight=np.zeros(20)), "sample_weight is zero",
         "weight some of them"),
    case("chunks of negative ones", learn(rows(X), sample_weight=-da.ones(20)),
         "sample_weight"),
]  # fmt: skip


def check_refusal(model, call, message):
    before = snapshot(model)
    components = np.array(model.components_)
    with pytest.raises((ValueError, TypeError), match=message):
        call(model)
    assert snapshot(model) == before
    assert np.array_equal(np.asarray(model.components_), components)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("call", "message"), [*SAMPLES, *WEIGHTS])
def test_refusal_leaves_a_labelled_model_as_it_was(call, message):
    check_refusal(IncrementalPCA(2).fit(FILM), call, message)


@pytest.mark.parametrize(("call", "message"), [*LAYOUTS, *MODELS])
def test_refusal_leaves_a_model_in_memory_as_it_was(call, message):
    check_refusal(IncrementalPCA(2).fit(X), call, message)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("call", "message"), [*SAMPLES, *WEIGHTS])
def test_refusal_leaves_a_low_rank_model_as_it_was(call, message):
    check_refusal(IncrementalPCA(2, solver="gram").fit(FILM), call, message)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("call", "message"), [c for c in (*SAMPLES, *WEIGHTS) if c.id not in NEED_A_FITTED_MODEL]
)
def test_refusal_leaves_an_unfitted_model_unfitted(call, message):
    model = IncrementalPCA(2)
    with pytest.raises((ValueError, TypeError), match=message):
        call(model)
    assert snapshot(model) == snapshot(IncrementalPCA(2))
    with pytest.raises(NotFittedError, match="not fitted yet"):
        model.transform(X)
    with pytest.raises(AttributeError, match="no components_ before it is fitted"):
        _ = model.components_


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_chunks_of_weights_that_are_all_zero_are_refused():
    model = IncrementalPCA(2)
    with pytest.raises(ValueError, match="sample_weight is zero"):
        model.fit(rows(X), sample_weight=da.zeros(20))
    assert snapshot(model) == snapshot(IncrementalPCA(2))


SPLIT = [
    case("in memory", learn(X), "layout='auto', but X is a ndarray in memory",
         "pass a Dask array"),
    case("rows", learn(rows(X)), "features in 1 chunks", "by columns", "rechunk"),
    case("other slabs", lambda e: e.partial_fit(columns(X, 2)), r"chunked as \(\(2, 2, 2\),\)",
         r"fitted basis as \(\(3, 3\),\)", "rechunk"),
    case("models of other slabs", merge(columns(X, 2), 2),
         "cannot merge a basis chunked as", "same chunks of features"),
    case("models in memory", merge(X, 2), "cannot merge", "fit both"),
    case("NaN", learn(columns(NAN)), "X contains NaN", "mask, fill or drop"),
    case("other features", learn(columns(X[:, :4], 2)), "X has 4 features"),
    case("covariance", lambda e: e.get_covariance(), "get_covariance", "fit with layout='rows'"),
    case("precision", lambda e: e.get_precision(), "get_precision", "fit with layout='rows'"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("call", "message"), SPLIT)
def test_refusal_leaves_a_split_model_as_it_was(call, message):
    check_refusal(IncrementalPCA(2).fit(columns(X)), call, message)


def test_split_samples_that_are_none_are_refused():
    model = IncrementalPCA(2, layout="columns")
    with pytest.raises(ValueError, match=r"0 sample|no samples"):
        model.partial_fit(da.zeros((0, 6), chunks=(1, 3)))
    assert snapshot(model) == snapshot(IncrementalPCA(2, layout="columns"))


PARAMETERS = [
    ({"n_components": 0}, "n_components=0 invalid for n_features=6.*between 1 and"),
    ({"n_components": 7}, "n_components=7 invalid for n_features=6.*between 1 and"),
    ({"n_components": 1.5}, "n_components=1.5 invalid.*between 0 and 1"),
    ({"n_components": "two"}, "n_components='two' must be an int, a float"),
    ({"n_components": True}, "n_components=True must be an int, a float"),
    ({"tol": 1.0}, "tol=1.0 must be between 0 and 1"),
    ({"tol": "small"}, "tol='small' must be between 0 and 1"),
    ({"tol": 0.1, "n_components": 2}, "n_components=2 and tol=0.1 both set the rank; give one"),
    ({"layout": "diagonal"}, "layout='diagonal' is not one of.*'rows'"),
    ({"solver": "arpack"}, "solver='arpack' is not one of.*'gram'"),
    ({"forgetting_factor": 0.0}, r"forgetting_factor=0.0 must be a number in \(0, 1\]"),
    ({"forgetting_factor": np.nan}, r"forgetting_factor=nan must be a number in \(0, 1\]"),
    ({"forgetting_factor": "slow"}, "forgetting_factor='slow' must be a number"),
    ({"batch_size": 0}, "batch_size=0 must be an int of at least 1"),
    ({"batch_size": 2.5}, "batch_size=2.5 must be an int"),
    ({"oversampling": -1}, "oversampling=-1 must be an int of at least 0"),
    ({"layout": "columns"}, "layout='columns', but X is a ndarray in memory; pass a Dask array"),
]  # fmt: skip


@pytest.mark.parametrize(("parameters", "message"), PARAMETERS, ids=str)
def test_parameters_that_make_no_sense(parameters, message):
    model = IncrementalPCA(**parameters)
    for learn in (model.fit, model.partial_fit):
        with pytest.raises((ValueError, TypeError), match=message):
            learn(X)
    assert snapshot(model) == snapshot(IncrementalPCA(**parameters))


@pytest.mark.parametrize("factor", [0, -1, 1.5, np.nan])
def test_factors_of_forgetting(factor):
    model = IncrementalPCA(2).fit(X)
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"factor=.* must be in \(0, 1\]; 1 forgets nothing"):
        model.forget(factor)
    assert snapshot(model) == before
    with pytest.raises(NotFittedError):
        IncrementalPCA(2).forget(0.5)


def test_dimensions_that_are_not_there():
    ensemble = FILM.rename(y="run")
    with pytest.raises(ValueError, match=r"sample_dims=\['time', 'member'\] but X has.*'run'"):
        IncrementalPCA(2, sample_dims=("time", "member")).fit(ensemble)


@pytest.mark.parametrize(
    "other",
    [FRAME.rename(columns={"a": "z"}), FRAME[list("fedcba")], FILM.rename(y="z"),
     FILM.transpose("time", "x", "y")],
    ids=["names", "order of names", "dimensions", "order of dimensions"],
)  # fmt: skip
def test_models_of_other_names_do_not_merge(other):
    same = FRAME if isinstance(other, pd.DataFrame) else FILM
    model = IncrementalPCA(2).fit(same)
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"[Ff]eature"):
        model.merge(IncrementalPCA(2).fit(other))
    assert snapshot(model) == before


@pytest.mark.parametrize("solver", ["scatter", "gram"])
def test_infinity_is_refused_without_a_warning(solver):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="X contains NaN, infinity"):
            IncrementalPCA(2, solver=solver).fit(np.where(X.max() == X, np.inf, X))


def test_union_with_something_else_is_a_type_error():
    model = IncrementalPCA(2).fit(X)
    before = snapshot(model)
    with pytest.raises(TypeError, match=r"unsupported operand type\(s\) for \|"):
        model | 3
    assert snapshot(model) == before


def test_bad_samples_are_not_transformed():
    model = IncrementalPCA(2).fit(X)
    with pytest.raises(ValueError, match="X has 4 features, but IncrementalPCA is expecting 6"):
        model.transform(X[:, :4])
    with pytest.raises(ValueError, match="X has 4 features, but IncrementalPCA is expecting 6"):
        model.transform(rows(X[:, :4]))
    with pytest.raises(ValueError, match="contains NaN"):
        model.transform(NAN)
    with pytest.raises(ValueError, match=r"X has 3 coefficients per sample, the model 2.*tr"):
        model.inverse_transform(np.ones((4, 3)))
