"""Synaptic flow: how much of an all-positive network's output passes through each weight (section 4 of the paper)."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from apx import ApxError, MaskedModel, Run, UserError
from apx.architectures import normalisation_of
from apx.specifics import Criterion

BatchNorm = Literal["eval", "train", "identity"]


@dataclass(frozen=True)
class SynapticFlow(Criterion):
    """S = dR_SF/d|theta| * |theta| with R_SF = 1^T (prod_l |theta_l|) 1: no data, no label, no loss (equation 2).

    Args:
        batch_norm: `eval` takes the absolute running statistics, as published; `train` those of the one all-ones image;
            `identity` leaves batch norm out, which is what a trained network needs (its |running mean| would be
            subtracted from the flow).
        dtype: of the linearised network. The flow of a deep network leaves the range of float32.
    """

    batch_norm: BatchNorm = "eval"
    dtype: torch.dtype = torch.float64

    label = "LIS"

    def scores(self, model: MaskedModel, names: list[str], run: Run) -> dict[str, Tensor]:
        """Return weight name -> S >= 0 in the weight's shape; the model is left as it is.

        A weight whose path has been cut off scores 0, as a removed one does. Here it gets the smallest positive number
        instead: the cut-off go first, and no removed weight comes back in a tie with them.
        """
        shape = run.data.image_shape
        flows = synaptic_flow(model, names, shape, batch_norm=self.batch_norm, dtype=self.dtype)
        least = torch.finfo(self.dtype).tiny
        return {name: flow.clamp(min=least) * _kept(model, name, flow) for name, flow in flows.items()}


def synaptic_flow(
    model: MaskedModel,
    names: Iterable[str],
    shape: Sequence[int],
    *,
    batch_norm: BatchNorm = "eval",
    dtype: torch.dtype = torch.float64,
) -> dict[str, Tensor]:
    """Return weight name -> S in the weight's shape and in `dtype`, 0 where the weight is masked (equation 2).

    Args:
        model: the network with its masks; weights, buffers, gradients and modes stay bit for bit as they are, since the
            linearised network is a second set of tensors.
        names: weights to score.
        shape: of one input without its batch dimension, such as (channels, height, width).
        batch_norm: see `SynapticFlow`.
        dtype: of the computation.

    Raises:
        ApxError: the flow is not finite in `dtype`.
        UserError: `batch_norm` is `train`, and a batch norm sees one value per channel, which has no variance.
    """
    theta = _linearised(model, dtype)
    if batch_norm == "identity":
        theta |= _identity_norms(model.module, theta)
    weights = {name: theta[name].requires_grad_() for name in names}
    with _mode(model.module, training=batch_norm == "train"), torch.enable_grad():
        flow = _logits(model.module, theta, _ones(model.module, shape, theta)).sum()  # R_SF
        gradients = torch.autograd.grad(flow, list(weights.values()), materialize_grads=True)
    if not torch.isfinite(flow):
        raise ApxError(f"the synaptic flow of this network is {float(flow.detach())} in {dtype}; score it in float64")
    return {name: (weights[name] * gradient).detach() for name, gradient in zip(weights, gradients, strict=True)}


def _linearised(model: MaskedModel, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return |theta| of every entry of the state dict, masks folded in; other buffers are cast only."""
    module, persistent = model.module, model.module.state_dict().keys()
    theta = {name: model.fold(name).abs() for name in persistent}
    others = {name: buffer.clone() for name, buffer in module.named_buffers() if name not in persistent}
    return {name: t.to(dtype) if t.is_floating_point() else t for name, t in (theta | others).items()}


def _identity_norms(module: nn.Module, theta: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with which each batch norm hands on what it gets; a masked channel stays masked."""
    neutral = {"running_mean": torch.zeros_like, "running_var": torch.ones_like, "bias": torch.zeros_like}
    norms: dict[str, Tensor] = {}
    for layer, norm in module.named_modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            norms |= {key: f(theta[key]) for part, f in neutral.items() if (key := f"{layer}.{part}") in theta}
            if (gamma := f"{layer}.weight") in theta:
                norms[gamma] = (theta[gamma] > 0).to(theta[gamma].dtype)
    return norms


def _logits(module: nn.Module, theta: dict[str, Tensor], ones: Tensor) -> Tensor:
    """Return the logits of the network with the tensors `theta`; see `synaptic_flow` for what is raised."""
    try:
        logits: Tensor = functional_call(module, theta, (ones,))
    except ValueError as error:
        if not module.training:
            raise
        raise UserError(f"batch_norm=train cannot score this network ({error}); take eval or identity.") from error
    return logits


def _ones(module: nn.Module, shape: Sequence[int], theta: dict[str, Tensor]) -> Tensor:
    """Return the input [1, *shape] that the first layer sees as ones: mean + std, where the network normalises."""
    like = next(tensor for tensor in theta.values() if tensor.is_floating_point())
    ones = like.new_ones((1, *shape))
    inside = normalisation_of(module)
    if inside is None:
        return ones
    # through float32, in which the network keeps them: (x - mean) / std is then 1 to the last bit
    mean, std = (torch.tensor(v, dtype=torch.float32).to(like).view(-1, 1, 1) for v in (inside.mean, inside.std))
    return ones * std + mean


def _kept(model: MaskedModel, name: str, like: Tensor) -> Tensor:
    """Return the mask of a weight, in the dtype of `like`; all ones where it has none."""
    masks = model.current_masks()
    return masks[name].to(like) if name in masks else torch.ones_like(like)


@contextmanager
def _mode(module: nn.Module, *, training: bool) -> Iterator[None]:
    """Put the network into train or eval mode, and each of its modules back afterwards."""
    before = {part: part.training for part in module.modules()}
    module.train(training)
    try:
        yield
    finally:
        for part, mode in before.items():
            part.training = mode
