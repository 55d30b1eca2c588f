"""What the tests of the estimators share."""

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="module")
def one_blas_thread():
    """Networks as small as these gain nothing from more, and lose a lot where other tests keep the cores busy."""
    with threadpool_limits(1, "blas"):
        yield
