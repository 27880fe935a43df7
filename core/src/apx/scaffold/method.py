"""`method.py` of a new plugin: the stage's pipeline around the criterion's score."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from importlib.resources import files
from string import Template

from .criteria import STARTS, Start
from .wish import Wish

_STAGE_CLASSES = {"after": "AfterTraining", "before": "BeforeTraining", "during": "DuringTraining"}
_WIDTH = 120
_SPECIFICS = ("Criterion", "masks_from_units")


def template(name: str) -> Template:
    """Return a template of this package."""
    return Template(files(__package__).joinpath("templates", f"{name}.txt").read_text(encoding="utf-8"))


def method_source(wish: Wish) -> str:
    """Return the text of `method.py`."""
    start = STARTS[wish.criterion]
    return template(wish.stage).substitute(
        name=wish.name,
        slug=wish.slug,
        cls=wish.class_name,
        words=start.words,
        imports=_imports(wish, start),
        score=_score(wish, start),
        defined=start.defined,
        own_setting=f"    {start.setting}\n" if start.setting else "",
        **_pull(wish, start),
    )


def _pull(wish: Wish, start: Start) -> dict[str, str]:
    """Return the template's parts for training under a pull before weights are ranked; empty where there is none."""
    kind, _, arguments = start.pull.partition("(")
    if wish.stage == "during":
        return _cuts(kind, arguments)
    if not start.pull:
        return {"pull_setting": "", "pull_preset": "", "pull_train": ""}
    setting = 'prune: TrainSettings = Field(recipes.FINETUNE, description="training under the pull, before the cut")'
    train = f'pull = {start.pull}\nrun.train("pull", model, self.settings.prune, dynamics=pull)\n'
    return {
        "pull_setting": f"    {setting}\n",
        "pull_preset": '"prune": quick.FINETUNE, ',
        "pull_train": textwrap.indent(train, " " * 8),
    }


_CUTS = """\
        self._method = method
        self._run = run
        self._targets = method.targets(run)
        self._epochs = run.epochs(method.settings.train)"""
_TERMS = '''
    def loss_terms(self, model: MaskedModel, batch: Batch, at: Position) -> Tensor | None:
        """Pull until the last cut is made."""
        over = at.global_step >= self._step(len(self._targets), at)
        return None if over else super().loss_terms(model, batch, at)
'''


def _cuts(kind: str, arguments: str) -> dict[str, str]:
    """Return the parts of the dynamics that cuts: on its own, or on top of a pull."""
    if not kind:
        return {"pull_base": "Dynamics", "cuts_init": _CUTS, "cuts_terms": ""}
    base = f"        super().__init__({arguments.replace('self.settings', 'method.settings')}"
    return {"pull_base": kind, "cuts_init": f"{base}\n{_CUTS}", "cuts_terms": _TERMS}


def _score(wish: Wish, start: Start) -> str:
    body = textwrap.indent(start.score, " " * 8)
    return f'''class {wish.class_name}Score(Criterion):
    """{start.formula}"""

    label = "{wish.criterion}"

    def scores(self, model: MaskedModel, names: list[str], run: Run) -> dict[str, Tensor]:
        """Return weight name -> saliency >= 0 in the weight's shape; the lowest go."""
{body}
'''


def _imports(wish: Wish, start: Start) -> str:
    """Return the import block, in the order that isort gives it."""
    lasso = wish.criterion == "RELWM"
    during = wish.stage == "during"
    names = {_STAGE_CLASSES[wish.stage], "MaskedModel", "MethodSettings", "Run", "TrainSettings", "Variant"}
    names |= {"Masks", "Dynamics", "Position"} if during else {"Masks"}
    names |= {"Batch", "Dynamics", "Position"} if lasso or (during and start.pull) else set()
    specifics = {*_SPECIFICS, "Structure"} if lasso else set(_SPECIFICS)
    core = [
        _from("apx", names),
        *start.imports,
        _from("apx.specifics", specifics),
        "from apx.training import quick, recipes",
    ]
    third = ["from pydantic import Field", "from torch import Tensor"]
    third = ["import torch", *third] if lasso or during else third
    return "\n".join((*third, "", *core))


def _from(module: str, names: Iterable[str]) -> str:
    """Write an import, its names in isort's order (constants, classes, the rest), over several lines if it is long."""
    ordered = sorted(names, key=lambda name: (0 if name.isupper() else 1 if name[0].isupper() else 2, name))
    line = f"from {module} import {', '.join(ordered)}"
    if len(line) <= _WIDTH:
        return line
    return f"from {module} import (\n" + "".join(f"    {name},\n" for name in ordered) + ")"
