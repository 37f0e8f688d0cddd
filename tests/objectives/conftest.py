"""Features of six samples, by a student and two teachers."""

import pytest
from support.equations import make_batch

from mulki_hf.objectives import FeatureBatch


@pytest.fixture
def batch() -> FeatureBatch:
    return make_batch()
