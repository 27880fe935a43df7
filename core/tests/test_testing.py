"""What apx gives to authors' tests: the conformance check as an assertion, tiny runs, fixtures."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from apx.masks import count_zeros
from apx.testing import TrialMaker, assert_conforms, tiny_data, tiny_net

from . import lying_methods as lies
from .test_conformance import FILTERS, US


def test_a_method_that_keeps_its_word_passes() -> None:
    assert_conforms(lies.Honest, variants=[US], networks=["plain"])


def test_a_broken_claim_is_told_with_what_was_claimed_and_observed() -> None:
    with pytest.raises(AssertionError) as told:
        assert_conforms(lies.PrunesTooLittle, variants=[US], networks=["plain"])
    lines = str(told.value).splitlines()
    assert lines[0] == "honest does not do what it claims:"
    assert lines[1] == "  sparsity, variant US weights 1S L uniform, network plain"
    assert lines[2].startswith("    claimed:  70.0 % of the weights removed")
    assert lines[3].startswith("    observed: 3")


def test_where_nothing_could_be_judged_the_reason_is_told() -> None:
    with pytest.raises(AssertionError, match=r"network depthwise: not applicable: .*grouped convolution"):
        assert_conforms(lies.Honest, variants=[FILTERS], networks=["depthwise"])


def test_a_trial_prunes_the_tiny_network_exactly(trial: TrialMaker) -> None:
    assert count_zeros(tiny_net())[1] == 582
    pruning = trial("magnitude", sparsity=0.5)
    pruned = pruning.execute()
    assert pruning.own_sparsity(pruned) == 0.5
    assert count_zeros(pruned) == (291, 582)
    assert pruned(torch.zeros(2, 1, 8, 8)).shape == (2, 3)


def test_the_tiny_test_set_may_not_be_read() -> None:
    data = tiny_data()
    assert (len(data.train), len(data.val), len(data.test)) == (24, 6, 6)
    with pytest.raises(AssertionError, match="read the test set"):
        _ = data.test.images


def test_fixtures_come_with_apx_and_load_no_torch_unasked(tmp_path: Path) -> None:
    (tmp_path / "test_author.py").write_text(
        "import sys\n"
        "def test_nothing_is_loaded(): assert 'torch' not in sys.modules\n"
        "def test_a_trial(trial): assert trial('magnitude').own_sparsity(trial('magnitude').execute()) == 0.5\n"
    )
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert "2 passed" in done.stdout, done.stdout
    refused = subprocess.run([*words, "-p", "no:apx"], cwd=tmp_path, capture_output=True, text=True)
    assert "fixture 'trial' not found" in refused.stdout
