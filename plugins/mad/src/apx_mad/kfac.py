"""The damage that a displacement of the weights does: the second-order change of the loss, by block-wise K-FAC.

A layer is a matrix W [o, i], a column per input position and one more for a bias. Row p's block of the Fisher matrix
is approximated by G_pp A, with the empirical Fisher's factors of one batch: for N images and S output positions,
A = (1 / (N S^2)) sum of a a^T over all patches a (with a 1 appended where there is a bias), and G_pp = N S sum of g_p^2
over all positions, g being the gradient of the batch-mean loss at the layer's output.

A itself is never formed: dW A is the gradient of |layer(x; dW)|^2 / 2 with respect to dW, divided by N S^2. This takes
two passes through the layer instead of an i x i matrix, and is right for strides, padding and groups as it stands.
curvlinops, which forms both factors, gives the same numbers and is the oracle in the tests.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional


@dataclass
class Call:
    """One use of a layer: its input x [N, ...] and, after a backward pass, the loss gradient at its output."""

    x: Tensor
    gradient: Tensor | None = None


@contextmanager
def recorded(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, list[Call]]]:
    """Inside, passes through a network note each layer's calls, by the layer's name."""
    calls: dict[str, list[Call]] = {name: [] for name in layers}

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def note(layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            call = Call(args[0].detach())
            output.register_hook(lambda gradient: setattr(call, "gradient", gradient))
            calls[name].append(call)

        return note

    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers.items()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def batch_saliency(
    network: nn.Module,
    layers: Mapping[str, nn.Module],
    masks: Mapping[str, Tensor],
    x_adv: Tensor,
    y: Tensor,
) -> dict[str, Tensor]:
    """Return the saliency of each masked entry for one batch: parameter name -> tensor of its shape.

    The displacement is W - W m; the curvature is that of the cross-entropy with true labels at the masked network.

    Args:
        network: in eval mode, its parameters frozen; it is read, never written.
        layers: its convolution and linear layers by name.
        masks: soft masks m of their weights and biases, by parameter name.
        x_adv: adversarial images, float [B, C, H, W].
        y: labels, int64 [B].
    """
    weights = {name: network.get_parameter(name).detach() for name in masks}
    products = {name: weight * masks[name] for name, weight in weights.items()}
    x = x_adv.detach().requires_grad_()  # a gradient on its way to the images passes every layer's output
    with recorded(layers) as calls:
        loss = functional.cross_entropy(functional_call(network, products, (x,)), y)
        torch.autograd.grad(loss, x)
    saliency: dict[str, Tensor] = {}
    for layer_name, layer in layers.items():
        names = parameter_names(layer_name, layer)
        displacement = {part: weights[name] - products[name] for part, name in names.items()}
        own = layer_saliency(layer, displacement, calls[layer_name])
        saliency |= {names[part]: tensor for part, tensor in own.items()}
    return saliency


def parameter_names(name: str, layer: nn.Module) -> dict[str, str]:
    """Return `weight`, and `bias` where the layer has one, with their names in the network."""
    return {part: f"{name}.{part}".lstrip(".") for part, _ in layer.named_parameters(recurse=False)}


def layer_saliency(layer: nn.Module, displacement: Mapping[str, Tensor], calls: list[Call]) -> dict[str, Tensor]:
    """Return S_pq = 1/2 G_pp dW_pq (dW A)_pq of a layer, in the shapes of `displacement` (its `weight`, `bias`).

    A row of S, bias included, sums to 1/2 G_pp dW_p A dW_p^T >= 0; single entries may be negative, and are zero where
    dW is. A layer that is called several times sums over its calls.
    """
    saliency = {part: torch.zeros_like(moved) for part, moved in displacement.items()}
    for call in calls:
        if call.gradient is None:  # the loss does not depend on this call
            continue
        projected, positions = projection(layer, displacement, call.x)
        curvature = row_curvature(layer, call.gradient, positions)
        for part, moved in displacement.items():
            rows = curvature.view(-1, *[1] * (moved.dim() - 1))
            saliency[part] += 0.5 * rows * moved * projected[part]
    return saliency


def projection(layer: nn.Module, displacement: Mapping[str, Tensor], x: Tensor) -> tuple[dict[str, Tensor], int]:
    """Return dW A in the shapes of `displacement`, and the number S of output positions."""
    leaves = {part: moved.clone().requires_grad_() for part, moved in displacement.items()}
    response = functional_call(layer, leaves, (x,))
    gradients = torch.autograd.grad(response.square().sum() / 2, list(leaves.values()))
    positions = response.numel() // (len(x) * len(leaves["weight"]))
    return {part: g / (len(x) * positions**2) for part, g in zip(leaves, gradients, strict=True)}, positions


def row_curvature(layer: nn.Module, gradient: Tensor, positions: int) -> Tensor:
    """Return the diagonal of G, [o], from the gradient of the batch-mean loss at the layer's output."""
    channel = gradient.dim() - 1 if isinstance(layer, nn.Linear) else 1
    others = [dim for dim in range(gradient.dim()) if dim != channel]
    return len(gradient) * positions * gradient.square().sum(dim=others)
