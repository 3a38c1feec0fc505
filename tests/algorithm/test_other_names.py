"""Names from elsewhere are explained; none of them is a setting or a method of ours."""

from __future__ import annotations

import pytest

from rlkit_core import AlgorithmConfig
from rlkit_core.testing import BCConfigTest


@pytest.mark.parametrize("config_class", [AlgorithmConfig, BCConfigTest])
def test_no_setting_is_also_a_name_that_is_refused(config_class) -> None:
    names, known = config_class.other_names, config_class.known_settings()
    assert "max_requests_in_flight_per_learner" in known
    for table in (names.renamed, names.elsewhere, names.refused):
        assert set(table) & set(known) == set()
    assert [method for method in names.methods if hasattr(config_class, method)] == []
