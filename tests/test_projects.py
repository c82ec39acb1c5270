"""Sample projects are whole settings, and their data sets are shipped."""

import pytest

from core.config import Config
from core.data.reading.samples import list_samples
from core.projects import PROJECTS, project_settings


@pytest.mark.parametrize("name", PROJECTS)
def test_a_sample_project_is_ready_to_start(name, folders):
    config = Config.parse(project_settings(name, folders))
    assert config.dataset in list_samples(folders)
    assert config.base_model.startswith("starter:")
