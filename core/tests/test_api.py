"""apx.prune: any module, any loader, nothing of the caller's changed."""

import pkgutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import apx

FAST = {"finetune.epochs": 1, "finetune.batch_size": 32, "finetune.steps": 1}


@pytest.fixture
def loaders() -> tuple[DataLoader, DataLoader]:
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(64, 1, 8, 8, generator=generator), torch.arange(64) % 3
    return tuple(DataLoader(TensorDataset(images[i:], labels[i:]), batch_size=16) for i in (0, 32))  # type: ignore[return-value]


def own_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(384, 3))


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def test_a_plain_pruned_copy_comes_back(loaders: tuple[DataLoader, DataLoader]) -> None:
    network = own_network()
    before = weights(network)
    pruned, report = apx.prune(network, method="magnitude", data=loaders, sparsity=0.5, settings=FAST)
    assert type(pruned) is nn.Sequential
    assert apx.reported_sparsity(pruned) == pytest.approx(0.5, abs=0.01)
    assert report["sparsity"]["reported"] == apx.reported_sparsity(pruned)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    own_network().load_state_dict(pruned.state_dict(), strict=True)


def test_filters_go_whole_and_with_their_batch_norm(loaders: tuple[DataLoader, DataLoader]) -> None:
    pruned, report = apx.prune(
        own_network(), method="magnitude", data=loaders, sparsity=0.5, structure="S", settings=FAST
    )
    conv, norm = pruned[0], pruned[1]  # type: ignore[index]
    removed = conv.weight.flatten(1).abs().sum(1) == 0
    assert int(removed.sum()) == 3
    for tensor in (conv.bias, norm.weight, norm.bias, norm.running_mean):
        assert (tensor[removed] == 0).all()
    assert report["sparsity"]["own"] == pytest.approx(0.5)


def test_the_test_split_is_never_read_without_evaluation(loaders: tuple[DataLoader, DataLoader]) -> None:
    def forbidden() -> tuple[Tensor, Tensor]:
        raise AssertionError("the test split was read")

    images = torch.randint(0, 256, (32, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = apx.Split(images, torch.arange(32) % 3)
    test = apx.Split.lazy(forbidden, size=32, shape=(1, 8, 8))
    data = apx.Dataset(name="own", train=split, val=split, test=test, num_classes=3, threat_eps=0.1)
    settings = {**FAST, "finetune.handover": "best"}
    apx.prune(own_network(), method="magnitude", data=data, sparsity=0.5, settings=settings)


def test_unusable_data_is_named(loaders: tuple[DataLoader, DataLoader]) -> None:
    with pytest.raises(apx.UserError, match=r"\(train, val\)"):
        apx.prune(own_network(), method="magnitude", data=loaders[0])


def test_layers_that_cannot_be_coupled_are_refused_before_training(loaders: tuple[DataLoader, DataLoader]) -> None:
    grouped = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(apx.UserError, match="grouped convolution"):
        apx.prune(grouped, method="magnitude", data=loaders, structure="S")


def test_a_run_directory_is_made_where_asked(loaders: tuple[DataLoader, DataLoader], tmp_path: Path) -> None:
    _, report = apx.prune(own_network(), method="random", data=loaders, settings=FAST, out=tmp_path / "run")
    assert report["run"] == str(tmp_path / "run")
    assert (tmp_path / "run" / "report.json").exists()


def test_no_public_name_is_a_module_too() -> None:
    # whichever is imported first, `from apx import name` must give the same thing
    modules = {module.name for module in pkgutil.iter_modules(apx.__path__)}
    assert modules.isdisjoint(apx.__all__)


def test_a_run_from_python_is_that_of_the_command_line(tmp_path: Path) -> None:
    short = {"pretrain.epochs": 1, "finetune.epochs": 1}
    done = apx.run("Magnitude", arch="cnn-small", width=4, settings=short, evaluation="none", out=tmp_path / "run",
                   device="cpu")  # fmt: skip
    assert done.path == tmp_path / "run"
    assert done.finished
    assert done.request["method"] == "magnitude"
    assert done.report is not None
    assert done.report["sparsity"]["requested"] == 0.9
    with pytest.raises(apx.UserError, match="exists"):
        apx.run("magnitude", arch="cnn-small", width=4, settings=short, evaluation="none", out=tmp_path / "run")
    with pytest.raises(apx.UserError, match="hydra"):
        apx.run("hydrra", out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_methods_are_listed_by_their_taxonomy() -> None:
    everything = {entry.slug for entry in apx.list_methods()}
    least = {entry.slug for entry in apx.list_methods(criterion="least importance score", stage=["after", "during"])}
    assert {"hydra", "mad"} <= least < everything
    with pytest.raises(apx.UserError, match="stage"):
        apx.list_methods(stage="afterwards")
