"""Several processes: what they give back, and that none of them starts more."""

import os

from joblib import delayed

from serlib import parallel


def processes(jobs: int) -> tuple[int, set[int]]:
    """This process, and those that do four tasks of a pool that it asks for."""
    return os.getpid(), set(parallel.run((delayed(os.getpid)() for _ in range(4)), jobs))


def test_a_pool_in_a_process_of_a_pool_is_that_process():
    """It waited for ever: workers of both pools for each other."""
    own, outer = processes(2)
    assert own not in outer and len(outer) <= 2
    for process, inner in parallel.run((delayed(processes)(2) for _ in range(2)), 2):
        assert process != own and inner == {process}
