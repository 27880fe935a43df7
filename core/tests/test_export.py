import argparse
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from apx.architectures import Normalisation, normalise_inputs
from apx.errors import UserError
from apx.export import export_state, load_checkpoint, load_into, misfit, read_metadata
from apx.state_file import save_state

X = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 4)
    ).eval()


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    module = network()
    with torch.no_grad():
        module[0].weight[[1, 4]] = 0
        module[1].weight[[1, 4]] = 0
    return module


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_safetensors_and_torch_hold_the_plain_state(net, tmp_path):
    export_state(tmp_path / "a.safetensors", net, metadata={"method": "hydra"})
    export_state(tmp_path / "a.pt", net, "torch")
    assert equal(load_file(tmp_path / "a.safetensors"), net.state_dict())
    assert equal(torch.load(tmp_path / "a.pt", weights_only=True), net.state_dict())
    assert read_metadata(tmp_path / "a.safetensors") == {"method": "hydra"}
    assert read_metadata(tmp_path / "a.pt") == {}


@pytest.mark.parametrize("to", ["safetensors", "torch"])
def test_a_written_state_loads_again(net, tmp_path, to):
    export_state(tmp_path / "file", net, to)
    assert equal(load_checkpoint(tmp_path / "file"), net.state_dict())
    fresh = network()
    load_into(fresh, tmp_path / "file")
    assert torch.equal(fresh(X), net(X))


def test_channels_last_weights_are_written(net, tmp_path):
    export_state(tmp_path / "a.safetensors", net.to(memory_format=torch.channels_last))
    assert equal(load_file(tmp_path / "a.safetensors"), net.state_dict())


def test_a_shrunk_state_carries_its_channel_counts(net, tmp_path):
    report = export_state(tmp_path / "a.safetensors", net, shrink=True, example_input=X)
    assert report.filters_removed == 2
    assert load_file(tmp_path / "a.safetensors")["0.weight"].shape == (4, 3, 3, 3)
    fresh = network()
    load_into(fresh, tmp_path / "a.safetensors")
    assert fresh[0].out_channels == 4
    assert torch.allclose(fresh(X), net(X), atol=1e-5)


def test_a_shrunk_program_runs_in_plain_pytorch(net, tmp_path):
    export_state(tmp_path / "a.pt2", net, "torch", shrink=True, example_input=X)
    torch.save({"x": X, "logits": net(X).detach()}, tmp_path / "expected.pt")
    code = (
        "import sys, torch; e = torch.load('expected.pt', weights_only=True); "
        "program = torch.export.load('a.pt2').module(); "
        "assert 'apx' not in sys.modules; "
        "assert torch.allclose(program(e['x']), e['logits'], atol=1e-5); "
        "assert program(e['x'][:1]).shape == (1, 4)"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)


def test_the_normalisation_travels_beside_the_state(net, tmp_path):
    normalise_inputs(net, Normalisation((0.4, 0.5, 0.6), (0.2, 0.2, 0.25)), 3)
    export_state(tmp_path / "a.safetensors", net)
    assert equal(load_file(tmp_path / "a.safetensors"), net.state_dict())
    fresh = network()
    load_into(fresh, tmp_path / "a.safetensors")
    assert torch.equal(fresh(X), net(X))
    load_into(fresh, tmp_path / "a.safetensors")  # has one already
    assert torch.equal(fresh(X), net(X))


def test_a_failed_write_leaves_the_old_file(net, tmp_path, monkeypatch):
    export_state(tmp_path / "a.pt", net, "torch")
    before = (tmp_path / "a.pt").read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        export_state(tmp_path / "a.pt", network(), "torch")
    assert (tmp_path / "a.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_what_training_scripts_leave_beside_the_weights_is_allowed(net, tmp_path):
    wrapped = {f"module.{name}": tensor for name, tensor in net.state_dict().items()}
    rest = {"args": argparse.Namespace(arch="vgg16"), "best": np.float64(0.5), "epoch": np.int64(3)}
    torch.save({"state_dict": wrapped, **rest}, tmp_path / "a.pt")
    before = torch.serialization.get_safe_globals()
    assert equal(load_checkpoint(tmp_path / "a.pt"), net.state_dict())
    assert set(torch.serialization.get_safe_globals()) == set(before)


def test_numpy_1_scalars_are_allowed(net, tmp_path):
    content = {"net": dict(net.state_dict()), "best": np.float64(0.5)}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    written = (tmp_path / "a.pt").read_bytes()
    assert b"numpy._core.multiarray" in written
    (tmp_path / "a.pt").write_bytes(written.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert equal(load_checkpoint(tmp_path / "a.pt"), net.state_dict())


class Exploit:
    def __reduce__(self) -> tuple:
        return (os.mkdir, ("exploited",))


def test_a_pickle_that_runs_code_is_refused(net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": net.state_dict(), "extra": Exploit()}, "a.pt")
    with pytest.raises(UserError, match=r"refused to load a\.pt: .*mkdir.*save its state dict alone"):
        load_checkpoint("a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Exploit(), protocol=2))
    with pytest.raises(UserError):
        load_checkpoint("b.pt")
    assert not (tmp_path / "exploited").exists()


def test_a_pickled_module_is_refused(net, tmp_path):
    torch.save(net, tmp_path / "a.pt")
    with pytest.raises(UserError, match="Sequential"):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x09\0\0\0\0\0\0\0{garbage}", b"PK\x03\x04broken"])
def test_a_file_that_is_no_checkpoint(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(UserError, match="a"):
        load_checkpoint(tmp_path / "a")


def test_a_phases_end_is_no_network(tmp_path):
    save_state(tmp_path / "pretrain.safetensors", {"model": {"weight": torch.ones(2, 2), "bias": torch.ones(2)}})
    with pytest.raises(UserError, match=r"no network: give the run directory, or its model\.safetensors"):
        load_into(nn.Linear(2, 2), tmp_path / "pretrain.safetensors")


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"bias": (2,)}, "it lacks weight"),
        ({"weight": (2, 2), "bias": (2,), "scale": (1,)}, "the network has no scale"),
        ({"weight": (3, 2), "bias": (2,)}, "weight has shape [3, 2], the network's [2, 2]"),
        ({"weight": (3, 2)}, "it lacks bias (the first of 2 tensors that differ)"),
        ({"weight": (2, 2), "bias": (2,)}, None),
    ],
)
def test_misfit_names_the_first_tensor(given, fault):
    assert misfit(nn.Linear(2, 2), {name: torch.ones(shape) for name, shape in given.items()}) == fault


def test_other_mistakes(net, tmp_path):
    with pytest.raises(UserError, match="no checkpoint"):
        load_checkpoint(tmp_path / "missing.pt")
    torch.save({"epoch": 3}, tmp_path / "a.pt")
    with pytest.raises(UserError, match="no state dict"):
        load_checkpoint(tmp_path / "a.pt")
    export_state(tmp_path / "b.pt", net, "torch")
    with pytest.raises(
        UserError, match=r"does not fit Linear: it lacks weight \(the first of \d+ tensors that differ\)"
    ):
        load_into(nn.Linear(2, 2), tmp_path / "b.pt")
    with pytest.raises(UserError, match="choose one of safetensors, torch, onnx"):
        export_state(tmp_path / "c", net, "tf")
    with pytest.raises(UserError, match="example input"):
        export_state(tmp_path / "c", net, shrink=True)
    assert not (tmp_path / "c").exists()
