"""What holds for every test of the workspace: one torch thread per process, a cache folder of its own."""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # pytest runs two processes; read when torch is first imported


@pytest.fixture(scope="session", autouse=True)
def apx_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep tests out of the user's cache of verdicts, data and dense models."""
    os.environ["APX_HOME"] = str(tmp_path_factory.mktemp("apx-home"))
