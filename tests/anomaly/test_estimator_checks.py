"""scikit-learn's own checks of an estimator."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from dask_exa.anomaly import IsolationForest


@parametrize_with_checks(
    [IsolationForest(n_estimators=20), IsolationForest(n_estimators=20, nan="raise")]
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)
