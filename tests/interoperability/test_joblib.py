"""joblib's Dask backend: fits of a search on the workers of a cluster."""

import os

import joblib
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, KFold

from dask_exa._threads import available_threads
from dask_exa.decomposition import IncrementalPCA
from tests.interoperability._data import LAZY, X

COMPONENTS = {"n_components": [1, 2, 3, 4]}
FOLDS = KFold(4)


def process(estimator, X, y=None):
    return os.getpid()


def threads(estimator, X, y=None):
    return available_threads()


def split_scores(scoring, client):
    """Return what a scoring gives in every fit of a search that runs on the cluster."""
    with joblib.parallel_config(backend="dask"):
        search = GridSearchCV(
            IncrementalPCA(), COMPONENTS, cv=FOLDS, scoring=scoring, refit=False
        ).fit(X)
    return {*np.concatenate([search.cv_results_[f"split{i}_test_score"] for i in range(4)])}


@pytest.mark.parametrize("data", [X, LAZY], ids=["NumPy", "Dask"])
def test_search_on_a_cluster_finds_what_it_finds_here(data, client):
    here = GridSearchCV(IncrementalPCA(), COMPONENTS, cv=FOLDS).fit(X)
    with joblib.parallel_config(backend="dask"):
        there = GridSearchCV(IncrementalPCA(), COMPONENTS, cv=FOLDS).fit(data)
    scores = "mean_test_score"
    np.testing.assert_allclose(there.cv_results_[scores], here.cv_results_[scores], rtol=1e-9)
    assert there.best_params_ == here.best_params_


def test_fits_run_on_the_workers(client):
    workers = {*client.run(os.getpid).values()}
    assert split_scores(process, client) <= workers - {os.getpid()}


def test_a_fit_takes_no_more_threads_than_its_worker_has(client):
    """Two workers of one thread each: no fit may use both cores."""
    assert split_scores(threads, client) == {1}
