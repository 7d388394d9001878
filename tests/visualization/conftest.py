"""Colors of drawn images."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="session")
def like():
    """A function that says which pixels of an image have about a color."""
    return lambda image, color: np.abs(image.astype(int) - color).max(axis=-1) < 40
