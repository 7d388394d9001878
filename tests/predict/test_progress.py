from __future__ import annotations

import numpy as np
import pytest
import torch

from nucdet.predict.progress import is_out_of_memory


@pytest.mark.parametrize("allocate", [torch.empty, np.empty])
def test_an_allocation_that_fails_is_out_of_memory(allocate):
    with pytest.raises((MemoryError, RuntimeError)) as failure:
        allocate(1 << 50)
    assert is_out_of_memory(failure.value)


def test_other_errors_of_torch_are_not():
    with pytest.raises(RuntimeError) as failure:
        torch.zeros(2) + torch.zeros(3)
    assert not is_out_of_memory(failure.value)
