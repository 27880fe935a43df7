"""Where saliencies compete: all layers in one pool, the classifier row by row, a bias as one more column of its row."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from apx.masks import Masks
from apx.selection import keep_highest, pruned_count


def masks_from_saliency(saliency: Mapping[str, Tensor], sparsity: float, classifier: str | None) -> Masks:
    """Return the masks that remove the lowest saliencies (signed: the most negative first).

    Of a pool's n entries floor(s n) go, of each of the classifier's rows floor(s (i + 1)). Ties fall by position,
    earlier entries first.

    Args:
        saliency: parameter name -> saliency of its shape, weights and biases of the layers in definition order.
        sparsity: the share s to remove.
        classifier: the name of the layer that is ranked row by row, or None.
    """
    return Masks(
        in_pools(lambda pool: keep_highest(pool, len(pool) - pruned_count(sparsity, len(pool))), saliency, classifier)
    )


def quantiles(saliency: Mapping[str, Tensor], classifier: str | None) -> dict[str, Tensor]:
    """Return each entry's place in its pool, float64 in (0, 1]: sparsity s removes those of at most s."""
    return in_pools(_places, saliency, classifier)


def in_pools(
    function: Callable[[Tensor], Tensor], saliency: Mapping[str, Tensor], classifier: str | None
) -> dict[str, Tensor]:
    """Apply `function`, flat pool -> tensor of its length, to each pool; return the results in the entries' places."""
    matrices = _matrices(saliency)
    rows = matrices.pop(classifier, None) if classifier is not None else None
    results: dict[str, Tensor] = {}
    if matrices:
        flat = function(torch.cat([matrix.reshape(-1) for matrix in matrices.values()]))
        parts = flat.split([matrix.numel() for matrix in matrices.values()])
        results = {layer: part.view_as(matrices[layer]) for layer, part in zip(matrices, parts, strict=True)}
    if classifier is not None and rows is not None:
        results[classifier] = torch.stack([function(row) for row in rows])
    return {name: _entries(results[_layer(name)], name, like) for name, like in saliency.items()}


def _matrices(saliency: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return layer -> [o, i], or [o, i + 1] with the bias as last column."""
    matrices: dict[str, Tensor] = {}
    for name, tensor in saliency.items():  # a layer's weight comes before its bias
        column, layer = tensor.reshape(len(tensor), -1), _layer(name)
        matrices[layer] = torch.cat([matrices[layer], column], dim=1) if layer in matrices else column
    return matrices


def _entries(matrix: Tensor, name: str, like: Tensor) -> Tensor:
    """Return a parameter's entries of its layer's matrix, in the shape of `like`."""
    width = like[0].numel()
    return (matrix[:, -1] if like.dim() == 1 else matrix[:, :width]).reshape(like.shape)


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _places(pool: Tensor) -> Tensor:
    order = pool.argsort(stable=True)
    places = torch.empty_like(pool, dtype=torch.float64)
    places[order] = torch.arange(1, len(pool) + 1, dtype=torch.float64, device=pool.device) / len(pool)
    return places
