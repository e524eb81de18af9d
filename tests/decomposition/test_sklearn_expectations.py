"""What scikit-learn and dask-ml publish that they expect of an IncrementalPCA holds for ours.

Written from what their tests check, with our bounds where ours are tighter. On purpose different:
a first batch shorter than `n_components` is legal (the attributes raise until there are enough
samples), `partial_fit` takes sparse samples, and the number of components cannot change between
two calls of `partial_fit`, unless it is left to the data.
"""

import warnings

import dask.array as da
import numpy as np
import pytest
import sklearn.decomposition
from sklearn.datasets import make_low_rank_matrix

from dask_exa.decomposition import IncrementalPCA


def host(array):
    return np.asarray(getattr(array, "values", array))


@pytest.fixture
def X():
    return np.random.default_rng(1999).standard_normal((100, 10))


@pytest.mark.parametrize("n_components", [1, 2, 3, 4])
def test_iris(n_components, iris, present):
    ipca = IncrementalPCA(n_components, batch_size=iris.shape[0] // 3)
    scores = ipca.fit_transform(present(iris))
    assert scores.shape == (iris.shape[0], n_components)
    exact = sklearn.decomposition.PCA().fit(iris).explained_variance_ratio_
    ratio = ipca.explained_variance_ratio_
    np.testing.assert_allclose(ratio.sum(), exact[:n_components].sum(), rtol=1e-12)


def test_distant_samples_project_on_the_first_axis(present):
    rng = np.random.default_rng(1999)
    X = rng.standard_normal((100, 3)) * 0.1
    X[:10] += [3, 4, 5]
    distant = 0.1 * rng.standard_normal((1, 3)) + [3, 4, 5]
    scores = IncrementalPCA(2).fit(present(X)).transform(distant)
    scores = host(scores) / np.sqrt((host(scores) ** 2).sum())
    np.testing.assert_allclose(np.abs(scores[0, 0]), 1.0, atol=0.1)


def test_inverse_of_samples_near_a_plane(present):
    X = np.random.default_rng(1999).standard_normal((50, 3))
    X[:, 1] *= 0.00001
    X += [5, 4, 3]
    ipca = IncrementalPCA(2, batch_size=10).fit(present(X))
    back = ipca.inverse_transform(ipca.transform(present(X)))
    np.testing.assert_allclose(host(back), X, atol=1e-4)


@pytest.mark.parametrize("n_components", [-1, 0, 0.0, 1.0, 4])
def test_impossible_numbers_of_components(n_components, present):
    X = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 3.0], [0.0, 2.0, 0.0]])
    with pytest.raises(ValueError, match=rf"n_components={n_components} invalid for n_features=3"):
        IncrementalPCA(n_components, batch_size=10).fit(present(X))


def test_more_components_than_samples(present):
    X = np.random.default_rng(0).standard_normal((5, 50))
    with pytest.raises(ValueError, match="n_samples=5 is fewer than the 6 that n_components=6"):
        IncrementalPCA(6).fit(present(X))
    # a stream may still come to have them
    assert IncrementalPCA(6).partial_fit(present(X)).n_samples_seen_ == 5


def test_as_many_samples_as_components(X):
    stream = IncrementalPCA(5).partial_fit(X[:5])
    assert stream.n_components_ == 5
    stream.partial_fit(X[5:])
    exact = sklearn.decomposition.PCA(5, svd_solver="full").fit(X)
    np.testing.assert_allclose(stream.components_, exact.components_, atol=1e-10)


@pytest.mark.parametrize(("n_samples", "expected"), [(50, 20), (7, 7)])
def test_number_of_components_left_to_the_data(n_samples, expected):
    X = np.random.default_rng(0).standard_normal((n_samples, 20))
    stream = IncrementalPCA(None).partial_fit(X)
    assert stream.n_components_ == expected
    assert stream.n_components is None


def test_number_of_components_cannot_change_in_a_stream(X):
    stream = IncrementalPCA(5).partial_fit(X)
    stream.set_params(n_components=6)
    with pytest.raises(ValueError, match=r"n_components=6 but the model was fitted with n_comp.*5"):
        stream.partial_fit(X)
    assert stream.set_params(n_components=5).partial_fit(X).n_samples_seen_ == 200


def test_number_of_features_cannot_change_in_a_stream(X):
    stream = IncrementalPCA(5).partial_fit(X)
    with pytest.raises(ValueError, match="X has 8 features, but IncrementalPCA is expecting 10"):
        stream.partial_fit(X[:, :8])
    assert stream.fit(X[:, :8]).n_features_in_ == 8  # a new fit may


@pytest.mark.parametrize("batch_size", [10, 20, 33, 50, 100])
@pytest.mark.parametrize("solver", ["auto", "gram", "qr"])
def test_batch_size_changes_neither_signs_nor_values(solver, batch_size, X):
    exact = sklearn.decomposition.PCA(3, svd_solver="full").fit(X)
    model = IncrementalPCA(3, batch_size=batch_size, solver=solver).fit(X)
    assert np.array_equal(np.sign(model.components_), np.sign(exact.components_))
    np.testing.assert_allclose(model.components_, exact.components_, atol=1e-9)


def test_wide_samples_in_batches_of_any_size():
    X = np.random.default_rng(1999).standard_normal((100, 60)) * 0.9 ** np.arange(60)
    models = [
        IncrementalPCA(10, batch_size=size, solver="gram", oversampling=30).fit(X)
        for size in range(50, 101, 10)
    ]
    for model in models[1:]:
        np.testing.assert_allclose(model.components_, models[0].components_, atol=1e-4)


def test_partial_fit_is_fit_with_that_batch_size(X, present):
    whole = IncrementalPCA(2, batch_size=10).fit(present(X))
    stream = IncrementalPCA(2, batch_size=10)
    for start in range(0, 100, 10):
        stream.partial_fit(X[start : start + 10])
    np.testing.assert_allclose(host(whole.components_), stream.components_, atol=1e-10)


def test_explained_variances(present):
    X = make_low_rank_matrix(300, 40, tail_strength=0.0, effective_rank=10, random_state=1999)
    for n_components in (None, 39, 10):
        exact = sklearn.decomposition.PCA(n_components, svd_solver="full").fit(X)
        ipca = IncrementalPCA(n_components, oversampling=30).fit(present(X))
        for name in ("explained_variance_", "explained_variance_ratio_"):
            np.testing.assert_allclose(getattr(ipca, name), getattr(exact, name), atol=1e-12)
        np.testing.assert_allclose(ipca.noise_variance_, exact.noise_variance_, atol=1e-13)


def test_singular_values_are_norms_of_scores(present):
    X = make_low_rank_matrix(1000, 20, tail_strength=0.0, effective_rank=10, random_state=0)
    ipca = IncrementalPCA(10, oversampling=10).fit(present(X))
    scores = host(ipca.transform(X))
    np.testing.assert_allclose(np.linalg.norm(scores, axis=0), ipca.singular_values_, rtol=1e-9)
    np.testing.assert_allclose((ipca.singular_values_**2).sum(), np.linalg.norm(scores) ** 2)


def test_given_singular_values_are_found(present):
    rng = np.random.default_rng(0)
    U = np.linalg.qr(np.c_[np.ones(100), rng.standard_normal((100, 3))])[0][:, 1:]
    V = np.linalg.qr(rng.standard_normal((110, 3)))[0]
    X = U * [3.142, 2.718, 1.0] @ V.T
    ipca = IncrementalPCA(3).fit(present(X))
    np.testing.assert_allclose(ipca.singular_values_, [3.142, 2.718, 1.0], rtol=1e-12)


def test_whitening_of_a_low_rank_matrix(present):
    X = make_low_rank_matrix(1000, 10, tail_strength=0.0, effective_rank=2, random_state=1999)
    for n_components in (9, 10):
        exact = sklearn.decomposition.PCA(n_components, whiten=True, svd_solver="full").fit(X)
        ipca = IncrementalPCA(n_components, whiten=True, batch_size=250).fit(present(X))
        # the smallest singular values are 1e-6 of the largest, or less
        expected, actual = exact.transform(X), host(ipca.transform(X))
        np.testing.assert_allclose(actual[:, :4], expected[:, :4], atol=1e-3)
        back = host(ipca.inverse_transform(actual))
        np.testing.assert_allclose(back, exact.inverse_transform(expected), atol=1e-6)


def test_counts_of_samples_divide_as_numbers():
    """A float32 or int count must not round the mean (a bug that scikit-learn once had)."""
    rng = np.random.default_rng(1999)
    A, B = rng.standard_normal((5, 3)) + 2, rng.standard_normal((7, 3)) + 5
    stream = IncrementalPCA(2).partial_fit(A)
    stream.partial_fit(B)
    whole = IncrementalPCA(2).fit(np.vstack([A, B]))
    np.testing.assert_allclose(stream.singular_values_, whole.singular_values_, rtol=1e-12)
    assert isinstance(stream.n_samples_seen_, int)


def test_integer_samples_do_not_overflow(present):
    X = np.random.default_rng(0).integers(0, 60_000, (100, 5)).astype(np.uint16)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        ipca = IncrementalPCA(5).fit(present(X))
    exact = sklearn.decomposition.PCA(svd_solver="full").fit(X.astype(float))
    np.testing.assert_allclose(ipca.singular_values_, exact.singular_values_, rtol=1e-11)


def test_rechunked_samples_change_nothing(X):
    exact = sklearn.decomposition.PCA(3, svd_solver="full").fit(X)
    for chunks in ((100, 10), (33, 10), (7, 10), (33, 3), (1, 10), (50, 1)):
        ipca = IncrementalPCA(3).fit(da.from_array(X, chunks=chunks))
        np.testing.assert_allclose(host(ipca.components_), exact.components_, atol=1e-9)
        np.testing.assert_allclose(ipca.noise_variance_, exact.noise_variance_, rtol=1e-11)
