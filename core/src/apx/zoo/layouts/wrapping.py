"""What lies around the tensors: wrapper dicts, prefixes of names, halves that are registered twice."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...errors import UserError

State = dict[str, Tensor]

WRAPPERS = ("state_dict", "net", "model_state_dict")
PREFIXES = ("module.", "basic_model.", "model.")
_HALVES = {"0.": "feature.", "3.": "classifier."}
"""A network that is a Sequential of features, two layers without tensors, and its head."""


def unwrap(content: object) -> tuple[State, list[str]]:
    """Return the tensors of a file's content by name, and what they were wrapped in, in words.

    Raises:
        UserError: there are no tensors where checkpoints have them.
    """
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            return _tensors(content[key], f"its '{key}'"), [f"in '{key}'"]
    return _tensors(content, "the file"), []


def _tensors(found: object, what: str) -> State:
    if not isinstance(found, Mapping):
        raise UserError(f"{what} is a {type(found).__name__}, not a dict of tensors: save the network's state dict")
    if not found:
        raise UserError(f"{what} is empty: it holds no tensors")
    for name, value in found.items():
        if not isinstance(value, Tensor) or not isinstance(name, str):
            wrappers = ", ".join(f"'{wrapper}'" for wrapper in WRAPPERS)
            raise UserError(
                f"{what} has an entry '{name}' that is no tensor, and tensors are under none of {wrappers}: "
                "save the network's state dict"
            )
    return {name: value.detach() for name, value in found.items()}


def strip_prefixes(state: State, said: list[str]) -> State:
    """Drop prefixes that all names carry, as often as they do."""
    while prefix := next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in state)), None):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
        said.append(f"without the prefix '{prefix}'")
    return state


def name_halves(state: State, said: list[str]) -> State:
    """Name the features and the head of a Sequential; drop a second copy of them after comparing it.

    Raises:
        UserError: the two copies differ.
    """
    twins = {name for name in state if name.startswith("model.")}
    if twins and any(name.startswith("feature.") for name in state):
        own = {name: tensor for name, tensor in state.items() if name not in twins}
        copies = _halves({name.removeprefix("model."): state[name] for name in twins})
        if copies.keys() != own.keys() or not all(torch.equal(own[name], copies[name]) for name in own):
            raise UserError("the tensors under 'model.' are not those beside it: this file holds two networks")
        said.append("every tensor twice")
        return own
    if all(name.startswith(tuple(_HALVES)) for name in state):
        said.append("as a Sequential's parts 0 and 3")
        return _halves(state)
    return state


def _halves(state: State) -> State:
    renamed: State = {}
    for name, tensor in state.items():
        half = next((half for half in _HALVES if name.startswith(half)), "")
        renamed[_HALVES.get(half, "") + name.removeprefix(half)] = tensor
    return renamed
