"""The steps from a checkpoint's content to a network of apx, in the order in which they have to be done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from ...architectures.normalisation import Normalisation
from .masking import fold_masks
from .networks import check_whole, classes_of, network_of
from .renaming import absorb_biases, affine_batch_norms, flatten_head, in_float32, rename
from .statistics import LOADER, Origin, pop_statistics, statistics_of_method
from .wrapping import State, name_halves, strip_prefixes, unwrap


@dataclass(frozen=True)
class Converted:
    """A checkpoint as one of apx's networks.

    Attributes:
        arch: the architecture, as `apx.build` knows it.
        num_classes: logits.
        state: its state dict, float32, masks multiplied in; loads strictly.
        normalisation: what the network has to do to its input first, None for nothing.
        normalisation_source: who says so: the `file`, the `method`'s code, or `none`.
        layout: what the checkpoint looked like, in words.
        notes: what else is to be known, in sentences.
    """

    arch: str
    num_classes: int
    state: Mapping[str, Tensor]
    normalisation: Normalisation | None
    normalisation_source: Origin
    layout: str
    notes: tuple[str, ...]


def convert(
    content: object, *, sparsity: float | None = None, method: str | None = None, dataset: str | None = None
) -> Converted:
    """Convert a checkpoint that a method's own code wrote.

    Args:
        content: what `torch.load(weights_only=True)` returned, or the tensors of a safetensors file.
        sparsity: share of the weights removed, for checkpoints that hold scores and not how many they keep.
        method: slug; decides about normalisation alone, and only where the file holds no statistics.
        dataset: `cifar10` or `svhn`, likewise.

    Raises:
        UserError: anything that is not recognised, not whole, or left over.
    """
    state, said = unwrap(content)
    state = name_halves(strip_prefixes(state, said), said)
    average = any(name.startswith("feature.") for name in state)
    state = _plural(state)
    in_file = pop_statistics(state)
    soft, frozen = (any(name.endswith(part) for name in state) for part in (".mask_weight", ".scores"))
    state = fold_masks(state, sparsity, said)
    state = in_float32(flatten_head(rename(state, said), said))
    state = absorb_biases(affine_batch_norms(state, said), said)
    arch = network_of(state, average=average)
    classes = classes_of(state, arch)
    check_whole(state, arch, classes)
    writer = "mad" if soft else LOADER if frozen else method  # no other method's files have these tensors
    by_method = statistics_of_method(writer, dataset)
    source: Origin = "file" if in_file else "method" if by_method else "none"
    if in_file:
        said.append("with its normalisation")
    return Converted(
        arch=arch,
        num_classes=classes,
        state=state,
        normalisation=in_file or by_method,
        normalisation_source=source,
        layout=", ".join([arch, *said]),
        notes=tuple(_notes(arch, writer, source)),
    )


def _plural(state: State) -> State:
    return {
        f"features.{name.removeprefix('feature.')}" if name.startswith("feature.") else name: tensor
        for name, tensor in state.items()
    }


def _notes(arch: str, writer: str | None, source: Origin) -> Iterator[str]:
    if writer == LOADER and source == "method":
        yield (
            "its method normalises images in the data loader: here the network does; numbers published without a word "
            "about it may have been measured on images that were not normalised"
        )
    if arch in ("vgg16_bn_linear", "vgg16_bn_linear_avg"):
        kind = "an average" if arch.endswith("avg") else "a maximum"
        yield f"no tensor says whether the last pool takes maxima or averages: {kind}, by how the layers are named"
