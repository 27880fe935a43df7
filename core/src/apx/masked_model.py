"""A plain module with masks: the effective weights are computed once per optimiser step and shared by all passes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .errors import ApxError
from .masks import Masks, weight_names
from .reparametrisation import Product, Reparametrisation

if TYPE_CHECKING:
    from .cuda_graphs import RecordedPasses

Storage = Literal["reparametrised", "inplace"]


class MaskedModel(nn.Module):
    """Owns the masks and the effective-weight functions of a module that itself stays plain.

    `reparametrised` storage keeps hidden weights: the effective tensor (mask product, learned scores, factors) is
    computed once after each optimiser step and put in the module's place by `torch.func.functional_call`. The loss
    differentiates with respect to these effective tensors, which is the *dense* gradient that growth criteria need
    (`dense_gradient`); `pull_back` carries it on to the hidden parameters. Attacks see the same tensors detached.

    `inplace` storage has no hidden weights: masked entries of weight, gradient and momentum are zero; the trainer
    calls `mask_gradients` before and `enforce` after each step.

    Parameter names of `module` are canonical throughout: its plain state dict loads strictly at any time.

    Args:
        module: the network, held and changed in place; images [B, C, H, W] in [0, 1] to logits [B, classes].
        storage: see above.
    """

    def __init__(self, module: nn.Module, *, storage: Storage = "reparametrised") -> None:
        super().__init__()
        self.module = module
        self.storage: Storage = storage
        self.reparametrisations = nn.ModuleDict()
        self.masks = Masks({})
        self.on_masks: list[Callable[[MaskedModel], None]] = []
        self.recorded: RecordedPasses | None = None
        self._detached = False
        self._graphs: dict[str, Tensor] = {}
        self._leaves: dict[str, Tensor] = {}
        self._versions: tuple[int, ...] = ()
        self._hidden: tuple[list[str], list[Tensor]] | None = None  # names that have effective tensors; made of these

    # -- what is masked ---------------------------------------------------------------------------------------

    def set_masks(self, masks: Masks) -> None:
        """Replace the masks; buffers named by them (running means) are zeroed, in-place storage zeroes weights.

        Raises:
            ApxError: a mask names no tensor of the module or has another shape.
        """
        known = self._tensors()
        for name, mask in masks.items():
            if name not in known:
                raise ApxError(f"mask '{name}' names no parameter or buffer of {type(self.module).__name__}")
            if mask.shape != known[name].shape:
                raise ApxError(
                    f"mask '{name}' has shape {tuple(mask.shape)}, the tensor has {tuple(known[name].shape)}"
                )
        # laid out in memory like what they mask, or each product would walk through one of the two with jumps
        self.masks = Masks(
            {name: torch.empty_like(known[name], dtype=torch.bool).copy_(m) for name, m in masks.items()}
        )
        self._forget()
        self.enforce()
        for notify in self.on_masks:
            notify(self)

    def reparametrise(self, name: str, function: Reparametrisation) -> None:
        """Let `function` compute the effective tensor of parameter `name` from now on."""
        self._parameter(name)
        device = self._parameter(name).device
        self.reparametrisations[name.replace(".", "/")] = function.to(device)
        self._forget()

    def drop_reparametrisations(self) -> None:
        """Return to the plain product with the masks; hidden weights stay."""
        self.reparametrisations = nn.ModuleDict()
        self._forget()

    def current_masks(self) -> Masks:
        """Return the masks in force, learned ones included."""
        learned = {}
        for name, function in self._functions():
            own = function.own_mask(self._parameter(name))
            if own is not None:
                learned[name] = own & self.masks[name] if name in self.masks else own
        return self.masks.merged(learned)

    def fold(self, name: str, *, masked: bool = True) -> Tensor:
        """Return the effective tensor of a parameter or buffer, detached; `masked=False` leaves the mask out of it."""
        tensor = self._tensors()[name].detach()
        function = dict(self._functions()).get(name)
        mask = self.masks.get(name) if masked else None
        with torch.no_grad():
            if function is not None:
                return function(tensor, mask).detach()
            return tensor if mask is None else tensor * mask

    def folded_state(self) -> dict[str, Tensor]:
        """Return the module's state dict with masks and reparametrisations folded in, under canonical names."""
        return {name: self.fold(name).clone() for name in self.module.state_dict()}

    # -- passes -----------------------------------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the module on its effective weights."""
        effective = self._effective()
        if self._detached:
            effective = {name: tensor.detach() for name, tensor in effective.items()}
        if self.recorded is not None and len(args) == 1 and not kwargs:
            logits = self.recorded(*args, effective)
            if logits is not None:
                return logits
        if not effective:
            return self.module(*args, **kwargs)
        return functional_call(self.module, effective, args, kwargs)

    @contextmanager
    def detached(self) -> Iterator[None]:
        """Inside, passes use the effective weights without a gradient path to them (for attacks)."""
        before, self._detached = self._detached, True
        try:
            yield
        finally:
            self._detached = before

    def dense_gradient(self, name: str) -> Tensor | None:
        """Return dL/d(effective weight), also at pruned entries, between the backward pass and the next step."""
        leaf = self._leaves.get(name)
        return self._parameter(name).grad if leaf is None else leaf.grad

    def pull_back(self) -> None:
        """Carry the gradients of the effective tensors to hidden parameters; call once, after the last backward."""
        graphs = [(g, self._leaves[n].grad) for n, g in self._graphs.items() if self._leaves[n].grad is not None]
        if graphs:
            outputs, gradients = zip(*graphs, strict=True)
            torch.autograd.backward(outputs, gradients)
        self._graphs = {}

    def mask_gradients(self) -> None:
        """Zero the gradient at masked entries (in-place storage; hidden weights get theirs through the product)."""
        if self.storage == "inplace":
            for name, mask in self.masks.items():
                parameter = self._tensors()[name]
                if parameter.grad is not None:
                    parameter.grad.mul_(mask)

    @torch.no_grad()
    def enforce(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Make masked entries exactly zero where they are stored: buffers always, weights and momentum in place."""
        tensors = self._tensors()
        for name, mask in self.masks.items():
            tensor = tensors[name]
            if isinstance(tensor, nn.Parameter):
                if self.storage != "inplace":
                    continue
                for state in (optimizer.state.get(tensor, {}) if optimizer else {}).values():
                    if isinstance(state, Tensor) and state.shape == tensor.shape:
                        state.mul_(mask)
            tensor.mul_(mask)

    # -- state ------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return all that a checkpoint needs: hidden tensors, own parameters of reparametrisations, masks."""
        return {
            "module": dict(self.module.state_dict()),
            "reparametrisations": dict(self.reparametrisations.state_dict()),
            "masks": dict(self.masks),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore `state()`; the same reparametrisations must be in place."""
        self.module.load_state_dict(state["module"])
        self.reparametrisations.load_state_dict(state["reparametrisations"])
        self.set_masks(Masks({name: mask.to(torch.bool) for name, mask in state["masks"].items()}))

    def prunable(self, exclude: tuple[str, ...] = ()) -> dict[str, nn.Parameter]:
        """Return the conv and linear weights (hidden ones) by canonical name, in definition order."""
        return {name: self._parameter(name) for name in weight_names(self.module, exclude)}

    def __getstate__(self) -> dict[str, Any]:
        # caches are graph tensors, which can be neither copied nor pickled; a copy recomputes its own
        return {
            **self.__dict__,
            "_graphs": {},
            "_leaves": {},
            "_versions": (),
            "_hidden": None,
            "on_masks": [],
            "recorded": None,
        }

    # -- effective tensors ------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Compute the effective tensors anew, with a graph for `pull_back`; the trainer calls it after each step."""
        self._forget()
        self._effective()
        if self.recorded is not None:
            self.recorded.release()

    def _effective(self) -> dict[str, Tensor]:
        names, hidden = self._hidden or self._look_up()
        if not names:
            return {}
        versions = tuple(tensor._version for tensor in hidden)
        wants_graph = torch.is_grad_enabled() and not self._detached and any(tensor.requires_grad for tensor in hidden)
        if versions != self._versions or (wants_graph and not self._graphs):
            self._compute(names)
            self._versions = versions
        return self._leaves

    def _look_up(self) -> tuple[list[str], list[Tensor]]:
        names = self._reparametrised_names()
        own = list(self.reparametrisations.parameters()) if names else []
        self._hidden = names, [*(self._parameter(name) for name in names), *own]
        return self._hidden

    def _compute(self, names: list[str]) -> None:
        functions = dict(self._functions())
        plain = Product()
        self._graphs, self._leaves = {}, {}
        for name in names:
            with torch.enable_grad():
                effective = functions.get(name, plain)(self._parameter(name), self.masks.get(name))
            if effective.requires_grad:
                self._graphs[name] = effective
            self._leaves[name] = (
                effective.detach().requires_grad_(True)
                if self.recorded is None
                else self.recorded.hold(name, effective)
            )

    def _reparametrised_names(self) -> list[str]:
        if self.storage == "inplace":
            return [name for name, _ in self._functions()]
        parameters = dict(self.module.named_parameters())
        masked = [name for name in self.masks if name in parameters]
        return masked + [name for name, _ in self._functions() if name not in self.masks]

    def _forget(self) -> None:
        self._graphs, self._leaves, self._versions, self._hidden = {}, {}, (), None

    def _functions(self) -> Iterator[tuple[str, Reparametrisation]]:
        for key, function in self.reparametrisations.items():
            yield key.replace("/", "."), function  # type: ignore[misc]

    def _parameter(self, name: str) -> nn.Parameter:
        return self.module.get_parameter(name)

    def _tensors(self) -> dict[str, Tensor]:
        return {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}
