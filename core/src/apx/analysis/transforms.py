"""Naive changes of a trained network's weights: suppress small ones (E), suppress large ones (S), perturb all (R).

The experiment is that of the repository Kahsolt/adversarial-prune (2022; no paper): does pruning without any training
defend against adversarial examples? Per tensor w the order is E, S, R, with mean and population standard deviation of
the w from before E. Running statistics of batch norm stay as they are.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..masks import PRUNABLE
from ..randomness import derive_seed

Gate = Literal["as_code", "as_documented", "always"]
"""When S clamps a tensor: where it looks not normal (what the original code does), where it looks normal (what its
text says), or always."""

Targets = Literal["all", "conv_linear"]
"""Which layers' `weight` and `bias` change: all layers', batch norm included, or those of convolutions and linear."""

NOT_NORMAL = 1e-5
"""Below this p of D'Agostino and Pearson's test a tensor counts as not normally distributed."""

_FEWEST = 8  # the test's kurtosis part does not run on fewer values; it means something from 20 on


@dataclass(frozen=True)
class WeightTransform:
    """E, S and R with their strengths; 0 leaves a step out.

    Args:
        e: weights with |w| < e become zero.
        s: weights are clamped to s standard deviations round their tensor's mean, where `gate` lets them.
        r: uniform noise in [-r, r] is added to every weight.
        gate: when S clamps a tensor.
        targets: which layers change.

    Raises:
        UserError: a strength is negative or not finite, all are 0, or `gate` or `targets` is unknown.
    """

    e: float = 0.0
    s: float = 0.0
    r: float = 0.0
    gate: Gate = "as_code"
    targets: Targets = "all"

    def __post_init__(self) -> None:
        for name, value in self.strengths().items():
            if not 0 <= value < math.inf:
                raise UserError(f"the transform {name}={value:g} is not allowed: give a finite number of at least 0")
        if not any(self.strengths().values()):
            raise UserError("a transform that changes nothing: give at least one of E, S and R above 0, as in E=0.001")
        for what, word, allowed in (
            ("gate", self.gate, get_args(Gate)),
            ("choice of targets", self.targets, get_args(Targets)),
        ):
            if word not in allowed:
                raise UserError(f"unknown {what} '{word}': choose one of {', '.join(allowed)}")

    def strengths(self) -> dict[str, float]:
        """Return the three strengths under their letters."""
        return {"E": self.e, "S": self.s, "R": self.r}

    @property
    def label(self) -> str:
        """The transform as `parse_transform` reads it: `E=0.001` or `E=0.001,R=0.01`."""
        return ",".join(f"{name}={value:g}" for name, value in self.strengths().items() if value)


GRID = (
    *(WeightTransform(e=e) for e in (1e-5, 1e-4, 1e-3, 5e-3, 7e-3, 1e-2, 2e-2, 5e-2)),
    *(WeightTransform(s=s) for s in (9.0, 7.0, 5.0, 3.0)),
    *(WeightTransform(r=r) for r in (1e-3, 1e-2, 1e-1)),
)
"""The strengths that the original tries on ImageNet networks."""


@dataclass(frozen=True)
class TransformedWeights:
    """A transformed network's full state dict, and how many of the targeted elements the transform touched.

    `clamped` names the tensors that the gate let S clamp. An element is touched where E zeroes it (also if it was zero
    already), where it lies outside S's interval, or where its noise is not zero; with R that is practically every one.
    """

    state: dict[str, Tensor]
    touched: int
    total: int
    clamped: tuple[str, ...]

    @property
    def ratio(self) -> float:
        """Touched elements / all elements of the targeted weight and bias tensors, in [0, 1]."""
        return self.touched / self.total if self.total else 0.0


def parse_transform(text: str, *, gate: Gate = "as_code", targets: Targets = "all") -> WeightTransform:
    """Read `E=0.001`, or several steps as in `E=0.001,R=0.01`.

    Raises:
        UserError: another form, another letter, a letter twice, or a strength that `WeightTransform` refuses.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        try:
            strength = float(value)
        except ValueError:
            strength = math.nan
        if name.lower() not in ("e", "s", "r") or name.lower() in found or math.isnan(strength):
            raise UserError(f"cannot read the transform '{text}': write E, S or R with a number, as in E=0.001,R=0.01")
        found[name.lower()] = strength
    return WeightTransform(**found, gate=gate, targets=targets)


def transform_weights(module: nn.Module, transform: WeightTransform, *, seed: int = 0) -> TransformedWeights:
    """Return the weights of a plain network after E, S and R; the network itself stays as it is.

    Args:
        module: the network; a parameter that several layers share is changed, and counted, once.
        transform: what is done.
        seed: seed of R's noise, which depends on the tensor's name and not on the other tensors.
    """
    state = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    done: dict[int, Tensor] = {}
    touched = total = 0
    clamped = []
    for name, parameter in _targets(module, transform.targets):
        if id(parameter) not in done:
            weight = parameter.detach()
            small, is_small = suppress_small(weight, transform.e)
            inner, is_large = suppress_large(small, transform.s, gate=transform.gate, original=weight)
            noise = _noise(weight, transform.r, derive_seed(seed, "weight-transform", name))
            done[id(parameter)] = inner + noise
            touched += int((is_small | is_large | (noise != 0)).sum())
            total += weight.numel()
            if transform.s and gate_opens(weight, transform.gate):
                clamped.append(name)
        state[name] = done[id(parameter)]
    return TransformedWeights(state, touched, total, tuple(clamped))


def suppress_small(weight: Tensor, e: float) -> tuple[Tensor, Tensor]:
    """E: return w * 1[|w| >= e], and a bool tensor of the elements below `e`; with e = 0 nothing is below."""
    is_small = weight.abs() < e
    return weight.masked_fill(is_small, 0.0), is_small


def suppress_large(
    weight: Tensor, s: float, *, gate: Gate = "as_code", original: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """S: return w clamped to mean +- s standard deviations, and a bool tensor of the elements that lay outside.

    Args:
        weight: what is clamped, any shape.
        s: half the interval's width, in standard deviations; 0 leaves the step out.
        gate: when a tensor is clamped at all.
        original: whose mean, population standard deviation and distribution count; `weight` itself where None.
    """
    source = (weight if original is None else original).double()
    if s == 0 or not gate_opens(source, gate):
        return weight.clone(), torch.zeros_like(weight, dtype=torch.bool)
    mean, reach = float(source.mean()), s * float(source.std(correction=0))
    low, high = mean - reach, mean + reach
    return weight.clamp(low, high), (weight < low) | (weight > high)


def gate_opens(weight: Tensor, gate: Gate) -> bool:
    """Say whether S clamps a tensor; one too small or too constant for the test is clamped by `always` alone."""
    if gate == "always":
        return True
    p = normality(weight)
    return p < NOT_NORMAL if gate == "as_code" else p >= NOT_NORMAL  # both are false for NaN


def normality(weight: Tensor) -> float:
    """Return p of D'Agostino and Pearson's K^2 test (Biometrika 1973) on all elements; its null is "normal".

    NaN where there are fewer than 8 elements, or all are equal.
    """
    from scipy.stats import normaltest

    values = weight.detach().double().flatten().cpu().numpy()
    if len(values) < _FEWEST or values.std() <= 1e-12 * abs(values).max():
        return math.nan
    return float(normaltest(values).pvalue)


def _noise(weight: Tensor, r: float, seed: int) -> Tensor:
    """R: return noise in [-r, r] for each element, zeros where r is 0."""
    if r == 0:
        return torch.zeros_like(weight)
    uniform = torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed))
    return (r * (2.0 * uniform - 1.0)).to(weight)


def _targets(module: nn.Module, targets: Targets) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the `weight` and `bias` parameters under every name that the state dict has for them."""
    for path, layer in module.named_modules(remove_duplicate=False):
        if targets == "conv_linear" and not isinstance(layer, PRUNABLE):
            continue
        for name in ("weight", "bias"):
            parameter = layer._parameters.get(name)
            if parameter is not None:
                yield (f"{path}.{name}" if path else name), parameter


def as_json(transform: WeightTransform | None) -> dict[str, object] | None:
    """Return a transform's fields with its label; None is the network as it is."""
    if transform is None:
        return None
    return {"label": transform.label, **{f.name: getattr(transform, f.name) for f in fields(transform)}}
