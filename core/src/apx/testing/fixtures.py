"""The pytest plugin: fixtures for authors' tests. Nothing heavy is imported before a test asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from torch import Tensor

    from .steps import GivenSteps
    from .trial import TrialMaker


@pytest.fixture
def trial() -> TrialMaker:
    """Return a maker of runs of seconds: `trial("hydra", sparsity=0.5, structure="S").execute()`.

    Settings are the quick preset's unless `preset` says otherwise; `set` overrides them as `--set` does.
    """
    from .trial import make_trial

    return make_trial


@pytest.fixture
def given_steps() -> GivenSteps:
    """Return a trainer on given batches: `given_steps(model, x, y, settings)`, with x [steps, B, ...], y [steps, B]."""
    from .steps import take_steps

    return take_steps


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str], tuple[dict[str, Tensor], dict[str, str]]]:
    """Return a reader of golden files, made by running a method's official code: `tensors, about = golden("masks")`.

    They lie in the folder `golden` beside the test; `about` says which repository, commit and call made them.
    """
    from safetensors import safe_open

    def read(name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
        with safe_open(request.path.parent / "golden" / f"{name}.safetensors", framework="pt") as file:
            about = dict(file.metadata())
            missing = {"repository", "commit", "call"} - set(about)
            if missing:
                pytest.fail(f"the golden file {name} does not say its {', '.join(sorted(missing))}")
            return {key: file.get_tensor(key) for key in file.keys()}, about  # noqa: SIM118 - not a dict

    return read
