"""Write logits.safetensors: what the official networks answer with the numbers of `recorded.py`. No test runs it.

    python core/tests/zoo_layouts/generate.py FOLDER

FOLDER holds checkouts under their repositories' names. Each network is built in a process of its own, since their
modules have the same names. Where a class cannot be imported as shipped, stand-ins are given below: a normalisation
layer that advertorch had, and the command line that robust scratch tickets read on import. The benchmark's own module
of HARP cannot run, so its layouts are computed by HARP's repository; what normalises in its loader gets images as the
loader gives them.
"""

import importlib.util
import json
import subprocess
import sys
import types
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from recorded import HERE, LAYOUTS, SPARSITY, images, state_of
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils import prune

ROOT = Path(sys.argv[1])
KEEP = 0.1
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
MAD_STD, RST_MEAN, RST_STD = (0.2023, 0.1994, 0.2010), (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)
BENCHMARK = "AdversarialPruningBenchmark"
BIRDS = "Sparsity-Win-Robust-Generalization"


class Normalize(nn.Module):
    """(x - mean) / std with both as buffers, in place of advertorch's layer."""

    def __init__(self, mean: Any, std: Any) -> None:
        super().__init__()
        self.register_buffer("mean", torch.as_tensor(mean))
        self.register_buffer("std", torch.as_tensor(std))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean[:, None, None]) / self.std[:, None, None]


def file(repository: str, path: str) -> Any:
    """Import one file of a repository."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / repository / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def package(repository: str, name: str, folder: str = "") -> Any:
    """Import a module of a repository, which its other modules can import too."""
    sys.path.insert(0, str(ROOT / repository / folder))
    return importlib.import_module(name)


def benchmark(name: str) -> tuple[nn.Module, str]:
    method, arch = name.rsplit("_", 1)
    resnet = arch == "resnet18"
    module = file(BENCHMARK, f"models/{method if method != 'base' else f'base_{arch}'}.py")
    statistics = {"mean": torch.tensor(MEAN), "std": torch.tensor(MAD_STD)}
    if method == "base":
        return (module.resnet18() if resnet else module.vgg16_bn()), f"models.base_{arch}"
    if method == "hydra":
        make = module.resnet18 if resnet else module.vgg16_bn
        return make(nn.Conv2d, nn.Linear, "kaiming_normal"), f"models.hydra.{make.__name__}(Conv2d, Linear)"
    if method in ("flyingbird", "robustbird"):
        return (module.ResNet18() if resnet else module.vgg16_bn(10)), f"models.{method}"
    if method == "li20":
        return (module.ResNet18() if resnet else module.vgg(dataset="cifar", depth=16)), "models.li20"
    if method == "mad":
        return (module.resnet(18, **statistics) if resnet else module.VGG(depth=16, **statistics)), "models.mad"
    if method == "pwoa":
        return (module.ResNet18(num_classes=10) if resnet else module.VGG16()), "models.pwoa"
    if method == "radmm":
        return (module.ResNet18() if resnet else module.VGG("vgg16")), "models.radmm"
    assert method == "twinrep"
    make = module.ResNet18 if resnet else module.vgg16
    return make(nn.Conv2d, nn.Linear), f"models.twinrep.{make.__name__}(Conv2d, Linear)"


def hydra(arch: str) -> tuple[nn.Module, str]:
    layers = package("hydra", "models.layers")
    module = package("hydra", f"models.{'resnet' if arch == 'resnet18' else 'vgg'}_cifar")
    make = module.resnet18 if arch == "resnet18" else module.vgg16_bn
    net = make(layers.SubnetConv, layers.SubnetLinear, "kaiming_normal")
    for layer in net.modules():
        if hasattr(layer, "set_prune_rate"):
            layer.set_prune_rate(KEEP)
    return net, f"{make.__name__}(SubnetConv, SubnetLinear), set_prune_rate({KEEP})"


def harp(arch: str, unit: str) -> tuple[nn.Module, str]:
    layers = package("harp", "models.layers")
    module = package("harp", f"models.{'resnet' if arch == 'resnet18' else 'vgg'}_cifar")
    make = module.resnet18 if arch == "resnet18" else module.vgg16_bn
    settings = {"mean": MEAN, "std": STD, "num_classes": 10, "prune_reg": unit, "task_mode": "harp_finetune",
                "normalize": False}  # fmt: skip
    net = make(layers.SubnetConv, layers.SubnetLinear, "kaiming_normal", **settings)
    for layer in net.modules():
        if hasattr(layer, "set_prune_rate"):
            layer.set_prune_rate(KEEP, KEEP, 0.1, "cpu")
    return net, f"{make.__name__}(..., prune_reg={unit!r}, task_mode='harp_finetune'), global k {KEEP}, alpha 0.1"


def twinrep(arch: str, unit: str) -> tuple[nn.Module, str]:
    layers = package("Twin-Rep", "models.layers")
    module = package("Twin-Rep", f"models.{'resnet' if arch == 'resnet18' else 'vgg'}")
    kinds = {"twin": (layers.TwinConv, layers.TwinLinear), "channel": (layers.ChannelConv, layers.ChannelLinear)}
    make = module.ResNet18 if arch == "resnet18" else module.vgg16
    return make(*kinds[unit]), f"{make.__name__}({', '.join(kind.__name__ for kind in kinds[unit])})"


def bird(arch: str, *, masked: bool) -> tuple[nn.Module, str]:
    stand_in = types.ModuleType("advertorch.utils")
    stand_in.NormalizeByChannelMeanStd = Normalize  # type: ignore[attr-defined]
    sys.modules |= {"advertorch": types.ModuleType("advertorch"), "advertorch.utils": stand_in}
    module = file(BIRDS, f"models/{'preactivate_resnet' if arch == 'resnet18' else 'vgg'}.py")
    net = module.ResNet18() if arch == "resnet18" else module.vgg16_bn(10)
    net.normalize = Normalize(MEAN, STD)
    if masked:
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                prune.identity(layer, "weight")
    return net, f"{'ResNet18()' if arch == 'resnet18' else 'vgg16_bn(10)'}{', prune.identity' if masked else ''}"


def rst(arch: str) -> tuple[nn.Module, str]:
    asked = Namespace(
        conv_type="SubnetConv", bn_type="NonAffineBatchNorm", first_layer_type=None, init="signed_constant",
        mode="fan_in", nonlinearity="relu", scale_fan=False, prune_rate=KEEP, last_layer_dense=False,
        freeze_weights=True, first_layer_dense=False, width_mult=1.0,
    )  # fmt: skip
    stand_in = types.ModuleType("args")
    stand_in.args = asked  # type: ignore[attr-defined]
    sys.modules["args"] = stand_in
    module = package("Robust-Scratch-Ticket", "models.resnet_cifar" if arch == "resnet18" else "models.vgg")
    net = module.cResNet18() if arch == "resnet18" else module.VGG16()
    for layer in net.modules():
        if hasattr(layer, "set_prune_rate"):
            layer.set_prune_rate(KEEP)
    return net, f"{'cResNet18' if arch == 'resnet18' else 'VGG16'}(), set_prune_rate({KEEP}), images normalised"


def original(name: str) -> tuple[nn.Module, str, str]:
    arch = "resnet18" if "resnet18" in name else "vgg16"
    if "hydra" in name:
        return *hydra(arch), "hydra"
    if "harp" in name:
        return *harp(arch, "channel" if "channel" in name else "weight"), "harp"
    if "twinrep" in name:
        return *twinrep(arch, "channel" if "channel" in name else "twin"), "Twin-Rep"
    if "bird" in name:
        return *bird(arch, masked="robustbird" in name), BIRDS
    if "rst" in name:
        return *rst(arch), "Robust-Scratch-Ticket"
    if "pwoa" in name:
        module = file("PwoA", f"source/hsicbt/model/{'resnet' if arch == 'resnet18' else 'vgg'}.py")
        if arch == "resnet18":
            return module.ResNet18(num_classes=10, robustness=True), "ResNet18(robustness=True)", "PwoA"
        return module.VGG16(robustness=True), "VGG16(robustness=True)", "PwoA"
    if "li20" in name:
        module = package("ticket_robust", "resnet" if arch == "resnet18" else "models")
        net = module.ResNet18() if arch == "resnet18" else module.vgg(dataset="cifar", depth=16)
        return net.model, f"{type(net).__name__}().model", "ticket_robust"
    if "fork" in name:
        module = file("r-admm-nonuniform", "ADMM_examples/cifar10/models/vgg.py")
        return module.VGG("vgg16"), "VGG('vgg16')", "r-admm-nonuniform"
    assert "radmm" in name
    folder = "ADMM_examples/cifar10/models"
    module = file("Robustness-Aware-Pruning-ADMM", f"{folder}/{'resnet' if arch == 'resnet18' else 'vgg'}.py")
    net = module.ResNet18() if arch == "resnet18" else module.VGG("vgg16")
    return net, type(net).__name__, "Robustness-Aware-Pruning-ADMM"


def one(name: str, to: Path) -> None:
    """Write the logits of one layout, with what made them."""
    if name.startswith("harp"):
        net, call, repository = original(f"orig_{name}" if "channel" in name else f"orig_harp_weight_{name[5:]}")
    elif name.startswith("orig_"):
        net, call, repository = original(name)
    else:
        (net, call), repository = benchmark(name), BENCHMARK
    state, own = state_of(LAYOUTS[name]["tensors"]), net.state_dict()
    prefix = next(p for p in ("", "module.basic_model.", "module.", "model.") if all(p + key in state for key in own))
    net.load_state_dict({key: state[prefix + key] for key in own})
    assert len(own) == len(state), (len(own), len(state))
    x = images()
    if "rst" in name:
        x = (x - torch.tensor(RST_MEAN)[:, None, None]) / torch.tensor(RST_STD)[:, None, None]
    elif name.startswith(("flyingbird", "robustbird")) and not hasattr(net, "normalize"):
        raise AssertionError("the benchmark's network normalises inside")
    with torch.no_grad():
        logits = net.eval()(x)
    commit = subprocess.run(["cat", ROOT / f"{repository}.commit"], capture_output=True, text=True, check=True).stdout
    made = json.dumps({"repository": repository, "commit": commit.strip(), "call": call, "sparsity": SPARSITY})
    save_file({name: logits.contiguous()}, to / f"{name}.safetensors", {"made": made})


def main() -> None:
    if len(sys.argv) == 4:
        one(sys.argv[2], Path(sys.argv[3]))
        return
    parts = ROOT / "logits"
    parts.mkdir(exist_ok=True)
    for name in LAYOUTS:
        subprocess.run([sys.executable, __file__, str(ROOT), name, str(parts)], check=False)
    from safetensors import safe_open

    logits, made = {}, {}
    for path in sorted(parts.glob("*.safetensors")):
        logits |= load_file(path)
        with safe_open(path, framework="pt") as opened:
            made[path.stem] = opened.metadata()["made"]
    save_file(logits, HERE / "logits.safetensors", made)
    print(f"{len(logits)} of {len(LAYOUTS)}")


if __name__ == "__main__":
    main()
