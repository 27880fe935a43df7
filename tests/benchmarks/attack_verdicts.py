"""Do verdicts change when AutoAttack crafts on the prepared network? Standard AutoAttack twice, sample by sample.

    uv run python tests/benchmarks/attack_verdicts.py --out runs/verdicts [MODEL ...]

trains three small robust networks on the bundled digits with apx, evaluates each with `prepare=True` and with
`prepare=False` on the same images (all 360 of the test split and 240 of the validation split), and prints in how many
samples the two differ, in both directions, beside robust accuracy. What is in the folder already is not done again, so
several processes may take one model each: where a model is named, it alone is done and printed.
"""

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from apx import Dataset, build, evaluate, load_dataset, prune
from apx.export import export_state, load_into
from apx.paths import atomic_write


@dataclass(frozen=True)
class Model:
    """A network and how it is pruned, after training, by magnitude."""

    arch: str
    width: int
    pruning: dict[str, Any] = field(default_factory=dict)


MODELS = {
    "resnet18": Model("resnet18", 8, {"structure": "US", "sparsity": 0.9}),
    "vgg16": Model("vgg16", 8, {"structure": "S", "granularity": "filters", "sparsity": 0.5}),
    "cnn-small": Model("cnn-small", 16, {"structure": "US", "sparsity": 0.5}),
}


def trained(name: str, data: Dataset, asked: argparse.Namespace) -> nn.Module:
    """Return the pruned network in eval mode, trained unless its weights are in the folder."""
    model, path = MODELS[name], asked.out / f"{name}.safetensors"
    width = asked.width or model.width
    torch.manual_seed(0)
    net = build(model.arch, num_classes=data.num_classes, image_size=data.image_shape[1], width=width)
    if not path.exists():
        options = {"pretrained": False, "epochs_scale": asked.epochs_scale, "device": asked.device}
        pruned, _ = prune(net, method="magnitude", data=data, **model.pruning, **options)
        export_state(path, pruned)
    load_into(net, path)
    return net.eval()


def images_of(data: Dataset) -> tuple[Tensor, Tensor]:
    """Return images and labels of both splits that no network was trained on."""
    images, labels = (torch.cat([getattr(split, part) for split in (data.test, data.val)]) for part in _PARTS)
    return images, labels


_PARTS = ("images", "labels")


def verdicts(name: str, net: nn.Module, data: Dataset, asked: argparse.Namespace, *, prepare: bool) -> dict[str, Any]:
    """Return the document of one evaluation."""
    path = asked.out / f"{name}.{asked.precision if prepare else 'off'}.json"
    if not path.exists():
        options = {"precision": asked.precision} if prepare and asked.precision != "fp32" else {}
        document = evaluate(
            net,
            [images_of(data)],
            attack="autoattack",
            eps=data.threat_eps * asked.eps_scale,
            n=asked.n,
            batch_size=asked.batch,
            device=asked.device,
            prepare=prepare,
            **options,
        )
        atomic_write(path, json.dumps(document).encode())
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def line(name: str, on: dict[str, Any], off: dict[str, Any]) -> str:
    """Return a row of the table."""
    pairs = list(zip(on["samples"], off["samples"], strict=True))
    lost = sum(a["robust"] and not b["robust"] for a, b in pairs)
    found = sum(b["robust"] and not a["robust"] for a, b in pairs)
    values = [100 * document["robust_accuracy"]["value"] for document in (on, off)]
    cells = [
        name,
        str(len(pairs)),
        f"{100 * off['clean_accuracy']['value']:.1f}",
        *(f"{value:.2f}" for value in values),
    ]
    cells += [f"{values[0] - values[1]:+.2f}", str(lost), str(found), f"{100 * (lost + found) / len(pairs):.2f}"]
    cells += [f"{document['seconds']:.0f}" for document in (on, off)]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", choices=[[], *MODELS], metavar="MODEL", help=f"of {', '.join(MODELS)}")
    parser.add_argument("--out", type=Path, required=True, help="a folder for weights and results")
    parser.add_argument("--n", type=int, help="images; all 600 where absent")
    parser.add_argument("--batch", type=int, default=600)
    parser.add_argument("--width", type=int, help="channels of the first stage; small where absent")
    parser.add_argument("--eps-scale", type=float, default=1.0, help="times the data set's eps")
    parser.add_argument("--epochs-scale", type=float, default=1.0, help="times the epochs of the quick preset")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the prepared network")
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    data = load_dataset("digits")
    rows = []
    for name in asked.models or MODELS:
        net = trained(name, data, asked)
        on, off = (verdicts(name, net, data, asked, prepare=prepare) for prepare in (True, False))
        rows.append(line(name, on, off))
        print(f"done: {name}", flush=True)
    print(f"\nAutoAttack, standard, eps {data.threat_eps * asked.eps_scale:g}, batch {asked.batch}, {asked.device}\n")
    print(
        "| network | images | clean % | robust % prepared | robust % not | difference | robust only prepared ", end=""
    )
    print("| robust only not prepared | differ % | s prepared | s not |")
    print("|---" * 11 + "|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
