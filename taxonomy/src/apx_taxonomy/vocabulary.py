"""Every word of the taxonomy with its long name and meaning, and the reading of a user's spelling."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True)
class Word:
    """One value of an axis: how it is written, its long name, what it means, other spellings."""

    value: str
    name: str
    meaning: str
    aliases: tuple[str, ...] = ()

    @property
    def spellings(self) -> tuple[str, ...]:
        """Everything a user may write for this word, the value first."""
        return (self.value, self.name, *self.aliases)


@dataclass(frozen=True)
class Axis:
    """One dimension of the taxonomy: its name, the question it answers, its words in print order."""

    name: str
    meaning: str
    words: tuple[Word, ...]

    @property
    def values(self) -> tuple[str, ...]:
        """The values, in print order."""
        return tuple(word.value for word in self.words)

    def word(self, value: str) -> Word:
        """Return the word of an exact value; KeyError for anything else (see `resolve`)."""
        for word in self.words:
            if word.value == value:
                return word
        raise KeyError(value)


class UnknownWordError(ValueError):
    """A spelling that no word of an axis answers to; carries the allowed values and the nearest."""

    def __init__(self, axis: str, spelling: str, allowed: tuple[str, ...], nearest: str | None) -> None:
        self.axis = axis
        self.spelling = spelling
        self.allowed = allowed
        self.nearest = nearest
        hint = f"; did you mean {nearest!r}?" if nearest else "."
        article = "an" if axis[0] in "aeiou" else "a"
        super().__init__(f"{spelling!r} is not {article} {axis}: use one of {', '.join(allowed)}{hint}")


STAGE = Axis(
    "stage",
    "when pruning happens relative to training",
    (
        Word("before", "before training", "prune, then train what is left", ("B", "B-method")),
        Word("during", "during training", "train while the masks move", ("D", "D-method")),
        Word("after", "after training", "pretrain, prune, finetune", ("A", "A-method")),
    ),
)
SCHEDULE = Axis(
    "schedule",
    "whether the sparsity is reached in one step or several",
    (
        Word("1S", "one-shot", "from dense to the target in one transition", ("single-shot", "one-step")),
        Word("IT", "iterative", "in at least two steps, with training between"),
    ),
)
STRUCTURE = Axis(
    "structure",
    "whether single weights or whole groups are removed",
    (
        Word("US", "unstructured", "single weights", ("weights",)),
        Word("S", "structured", "whole groups of weights"),
    ),
)
GRANULARITY = Axis(
    "granularity",
    "what one mask bit removes",
    (
        Word("weights", "single weights", "one weight", ("weight",)),
        Word("filters", "output filters", "all weights of one output index (dim 0)", ("filter",)),
        Word("channels", "input channels", "all weights of one input index (dim 1)", ("channel",)),
        Word("kernels", "kernels", "one (output, input) pair: a k x k slice", ("kernel",)),
        Word("columns", "columns", "one position (input, row, column) of all filters", ("column",)),
        Word("blocks", "blocks", "a block of the weight matrix, as the method defines it", ("block",)),
        Word("layers", "layers", "a whole layer", ("layer",)),
    ),
)
LOCALITY = Axis(
    "locality",
    "over what the scores are ranked",
    (
        Word("L", "local", "inside each layer", ("local pruning", "layer-wise")),
        Word("G", "global", "across all layers", ("global pruning", "network-wide")),
    ),
)
BUDGET = Axis(
    "budget",
    "how the rate of each layer arises",
    (
        Word("uniform", "uniform", "the same rate in every layer"),
        Word("fixed-nonuniform", "fixed non-uniform", "rates from a formula (ERK, IGQ)", ("ERK", "IGQ")),
        Word("global", "global", "rates fall out of one ranking over all layers"),
        Word("learned", "learned", "rates are trained"),
        Word("searched", "searched", "rates are found by a search"),
    ),
)
CRITERION = Axis(
    "criterion",
    "what is removed first",
    (
        Word("LWM", "lowest weight magnitude", "the weights of smallest magnitude", ("magnitude",)),
        Word(
            "SOLWM",
            "solver-based LWM",
            "LWM after an optimisation solver has driven weights to zero",
            ("solver-based lowest weight magnitude",),
        ),
        Word(
            "RELWM",
            "regularisation-based LWM",
            "LWM under a regulariser that favours sparsity",
            (
                "regularization-based LWM",
                "regularisation-based lowest weight magnitude",
                "regularization-based lowest weight magnitude",
                "SPALWM",
                "sparsity-based LWM",
            ),
        ),
        Word(
            "LIS",
            "least importance score",
            "the least important by a score that is learned or computed",
            ("lowest importance score", "importance score"),
        ),
        Word("HGM", "highest gradient magnitude", "those with the largest gradient of the loss"),
        Word("BCS", "Bayesian connectivity sampling", "connections sampled from a posterior"),
        Word("RANDOM", "random", "drawn at random: a baseline, not in the survey"),
    ),
)
OBJECTIVE = Axis(
    "objective",
    "what a training phase minimises",
    (
        Word("nat", "natural training", "cross-entropy on clean inputs", ("natural", "benign", "standard")),
        Word(
            "pgd",
            "PGD adversarial training",
            "cross-entropy on PGD adversarial examples",
            ("PGD-AT", "Madry"),
        ),
        Word("fgsm-rs", "FGSM with random start", "cross-entropy on one-step examples", ("fast AT", "RS-FGSM")),
        Word("free", "free adversarial training", "each batch replayed, one gradient for both", ("free-AT",)),
        Word("trades", "TRADES", "clean cross-entropy plus a divergence to the adversarial output"),
        Word("mart", "MART", "misclassification-aware adversarial training"),
        Word("fat", "friendly adversarial training", "attacks stopped early"),
        Word("cat", "customised adversarial training", "eps per sample", ("customized adversarial training",)),
        Word("smooth", "randomised smoothing", "stability under Gaussian noise", ("randomized smoothing",)),
        Word("mixtrain", "MixTrain", "clean loss mixed with a verified bound on some samples"),
        Word("crown-ibp", "CROWN-IBP", "a certified bound on the margin"),
        Word("kd", "knowledge distillation", "agreement with a teacher", ("distillation",)),
    ),
)
LABEL = Axis(
    "label",
    "the survey's name of a family of objectives",
    (
        Word("NT", "natural training", "training on clean inputs"),
        Word("AT", "adversarial training", "training on adversarial examples"),
        Word("KD", "knowledge distillation", "training against a teacher"),
        Word("CNI", "channel noise injection", "training with noise injected into the network"),
    ),
)
ORIGIN = Axis(
    "origin",
    "where the method comes from",
    (
        Word("survey", "survey", "one of the survey's 26 methods"),
        Word("baseline", "baseline", "a reference to compare with"),
        Word("other", "other", "published elsewhere"),
    ),
)

AXES: dict[str, Axis] = {
    axis.name: axis
    for axis in (
        STAGE,
        SCHEDULE,
        STRUCTURE,
        GRANULARITY,
        LOCALITY,
        BUDGET,
        CRITERION,
        OBJECTIVE,
        LABEL,
        ORIGIN,
    )
}
"""Every axis by name, in print order."""

_LABEL_OF = {"nat": "NT", "kd": "KD"} | dict.fromkeys(("pgd", "fgsm-rs", "free", "trades", "mart", "fat", "cat"), "AT")


def axis(name: str) -> Axis:
    """Return an axis by its exact name; KeyError for anything else."""
    return AXES[name]


def survey_label(objective: str) -> str | None:
    """Return the survey's label of an objective, None where it has none (smoothing, verified training)."""
    return _LABEL_OF.get(objective)


def resolve(axis_name: str, spelling: str) -> str:
    """Return the value a user means: any case, long names, hyphens, blanks and full stops ignored.

    Raises UnknownWordError, which names the allowed values and the nearest one.
    """
    words = AXES[axis_name].words
    by_spelling: dict[str, str] = {}
    for word in words:
        for form in word.spellings:
            by_spelling.setdefault(_fold(form), word.value)
    wanted = _fold(spelling)
    if wanted in by_spelling:
        return by_spelling[wanted]
    near = get_close_matches(wanted, by_spelling, n=1, cutoff=0.6)
    nearest = by_spelling[near[0]] if near else None
    raise UnknownWordError(axis_name, spelling, AXES[axis_name].values, nearest)


def _fold(spelling: str) -> str:
    return "".join(letter for letter in spelling.casefold() if letter.isalnum())
