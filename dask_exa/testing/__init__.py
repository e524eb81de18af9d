"""Contract suites and strategies for tests of estimators, ours and other people's."""
