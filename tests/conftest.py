"""What every test relies on: no network, one thread, and one output folder that whole runs share."""

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifacts and cache of whole runs, shared so that the same teacher is exported and judged once."""
    return tmp_path_factory.mktemp("exports")
