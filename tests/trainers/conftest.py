"""Tiny models in folders, and the cache of the packaged parts."""

from pathlib import Path

import pytest

from tests.tiny import tiny_bert, tiny_llama
from trainers.parts import parts_dir

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def llama_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("tiny_llama"))


@pytest.fixture(scope="session")
def bert_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("tiny_bert"))


@pytest.fixture(scope="session")
def parts_cache() -> Path:
    """Where the tests marked `parts` keep what they fetch, so that it is fetched once."""
    return parts_dir(REPOSITORY / ".trialwright")
