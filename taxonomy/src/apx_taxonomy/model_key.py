"""Model keys: what names one published network, such as `HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_90`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

ARCHS = {"R18": "resnet18", "V16": "vgg16"}
"""Architecture in a key -> its family; see `NETWORKS` for the networks that a family has."""
NETWORKS = {
    "R18": ("resnet18", "preact_resnet18"),
    "V16": ("vgg16", "vgg16_bn_linear", "vgg16_bn_linear_avg", "vgg16_bn_mlp512", "vgg16_bn_fc4096"),
}
"""Architecture in a key -> the networks that the published checkpoints of that name really are."""
DATASETS = {"CIFAR10": "cifar10", "SVHN": "svhn"}
"""Data set in a key -> its name in apx."""
STRUCTURES = {"US": "unstructured", "S": "structured"}
SPARSITIES = {"US": (90, 95, 99), "S": (50, 75, 90)}
"""Structure -> the percentages of removed weights that a key may have."""

_FORM = "Name_AuthorYearWord_ARCH_DATASET_STRUCTURE_SPARSITY, as in HYDRA_Sehwag2020Hydra_R18_CIFAR10_US_90"
_NAME = re.compile(r"[^\W_]+")
_REFERENCE = re.compile(r"[^\W\d_]+[0-9]{4}[^\W_]+")
_PERCENT = re.compile(r"[1-9][0-9]*")
_STRUCTURE_WORDS = {
    **dict.fromkeys(("us", "unstructured", "weights", "weight"), "US"),
    **dict.fromkeys(("s", "structured", "filters", "filter", "channels", "channel"), "S"),
}


class ModelKeyError(ValueError):
    """A text that is no model key, or a key that nothing is known of: one sentence with what is allowed."""


@dataclass(frozen=True)
class ModelKey:
    """The name of one network: method, paper, architecture, data, structure and percent of weights removed.

    `str` writes it and `parse` reads it, each exactly undoing the other. Letters beyond ASCII are kept, in their
    composed form (Unicode NFC). A key says nothing about whether a file of it exists: see `zoo_entry`.

    Args:
        name: of the method, letters and digits: `HYDRA`.
        reference: first author, year and a word of the title: `Sehwag2020Hydra`.
        arch: `R18` or `V16`.
        dataset: `CIFAR10` or `SVHN`.
        structure: `US` (unstructured) or `S` (structured; the key does not keep whether filters or channels).
        sparsity: percent of the weights removed: 90, 95, 99 for US, 50, 75, 90 for S.

    Raises:
        ModelKeyError: one of them is not allowed.
    """

    name: str
    reference: str
    arch: str
    dataset: str
    structure: str
    sparsity: int

    def __post_init__(self) -> None:
        for part in ("name", "reference"):
            object.__setattr__(self, part, unicodedata.normalize("NFC", getattr(self, part)))
        if not _NAME.fullmatch(self.name):
            raise ModelKeyError(f"'{self.name}' is no name of a method in a model key: use letters and digits alone")
        if not _REFERENCE.fullmatch(self.reference):
            raise ModelKeyError(
                f"'{self.reference}' should be first author, year and a word of the title, as in Sehwag2020Hydra"
            )
        _choose(ARCHS, self.arch, "an architecture")
        _choose(DATASETS, self.dataset, "a data set")
        _choose(STRUCTURES, self.structure, "a structure")
        if isinstance(self.sparsity, bool) or self.sparsity not in SPARSITIES[self.structure]:
            allowed = ", ".join(map(str, SPARSITIES[self.structure]))
            raise ModelKeyError(
                f"{self.sparsity} is no sparsity of {self.structure} ({STRUCTURES[self.structure]}) keys: "
                f"use one of {allowed} percent"
            )

    def __str__(self) -> str:
        return f"{self.ap_key}_{self.arch}_{self.dataset}_{self.structure}_{self.sparsity}"

    @property
    def ap_key(self) -> str:
        """The taxonomy's key of the method: `HYDRA_Sehwag2020Hydra`."""
        return f"{self.name}_{self.reference}"

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks that a checkpoint of this key may be: an R18 is one of two, a V16 one of four."""
        return NETWORKS[self.arch]

    @classmethod
    def parse(cls, text: str) -> ModelKey:
        """Read a key.

        Raises:
            ModelKeyError: `text` is none; the sentence names the wrong piece, what is allowed there and the nearest.
        """
        pieces = text.strip().split("_")
        if len(pieces) != 6:
            raise ModelKeyError(f"'{text}' has {len(pieces)} pieces between underscores, a model key has 6: {_FORM}")
        name, reference, arch, dataset, structure, percent = pieces
        if not _PERCENT.fullmatch(percent):
            raise ModelKeyError(f"'{percent}' in '{text}' is no percentage: a model key ends in one, as in ..._US_90")
        try:
            return cls(name, reference, arch, dataset, structure, int(percent))
        except ModelKeyError as error:
            raise ModelKeyError(f"'{text}' is no model key: {error}") from None

    @classmethod
    def of(cls, *, method: str, arch: str, dataset: str, structure: str, sparsity: float) -> ModelKey:
        """Make a key from its parts, in the spellings that people use; a new method's key is made as any other.

        Args:
            method: a method of the survey, by slug, name or key, or `Name_AuthorYearWord` of a new one.
            arch: `R18` or `resnet18`, `V16` or `vgg16`, or one of their networks (`NETWORKS`).
            dataset: `CIFAR10` or `SVHN`, in any case.
            structure: `US`, `unstructured` or `weights`; `S`, `structured`, `filters` or `channels`.
            sparsity: percent (90), or the fraction of the weights removed (0.9).

        Raises:
            ModelKeyError: a part is not allowed; the sentence says what is.
        """
        from .zoo_index import survey_method

        known = survey_method(method)
        ap_key = known.ap_key if known is not None else _new_method(method)
        name, _, reference = ap_key.partition("_")
        return cls(
            name,
            reference,
            read_arch(arch),
            read_dataset(dataset),
            read_structure(structure),
            read_sparsity(sparsity),
        )


def read_arch(spelling: str) -> str:
    """Return R18 or V16, given that, `resnet18`, `vgg16`, or one of their networks; ModelKeyError for another word."""
    words = {key.casefold(): key for key in ARCHS}
    words |= {network: key for key, networks in NETWORKS.items() for network in networks}
    return _read(words, spelling, "an architecture", ARCHS)


def read_dataset(spelling: str) -> str:
    """Return CIFAR10 or SVHN, given that in any case; ModelKeyError for another word."""
    return _read({key.casefold(): key for key in DATASETS}, spelling, "a data set", DATASETS)


def read_structure(spelling: str) -> str:
    """Return US or S, given that, `unstructured`, `structured`, or what is removed; ModelKeyError for another word."""
    return _read(_STRUCTURE_WORDS, spelling, "a structure", STRUCTURES)


def read_sparsity(sparsity: float) -> int:
    """Return whole percent, given percent or a fraction below 1; ModelKeyError for percent that is not whole."""
    percent = sparsity * 100 if 0 < sparsity < 1 else sparsity
    if abs(percent - round(percent)) > 1e-9:
        raise ModelKeyError(f"{sparsity} is no sparsity of a model key: give whole percent (90) or a fraction (0.9)")
    return round(percent)


def _choose(allowed: Iterable[str], value: str, what: str) -> None:
    if value in allowed:
        return
    names = list(allowed)
    nearest = get_close_matches(str(value).upper(), names, n=1)
    hint = f", did you mean '{nearest[0]}'?" if nearest else ";"
    raise ModelKeyError(f"'{value}' is not {what} of model keys{hint} allowed: {', '.join(names)}")


def _read(words: Mapping[str, str], spelling: str, what: str, allowed: Mapping[str, str]) -> str:
    found = words.get(spelling.casefold())
    if found is None:
        _choose(allowed, spelling, what)
    return found or spelling


def _new_method(method: str) -> str:
    """Return the key of a method that the survey does not have, if it has the form of one."""
    from .zoo_index import survey_methods

    name, underscore, reference = unicodedata.normalize("NFC", method).partition("_")
    if underscore and _NAME.fullmatch(name) and _REFERENCE.fullmatch(reference):
        return f"{name}_{reference}"
    spellings = {word.casefold(): one.slug for one in survey_methods() for word in one.spellings}
    nearest = get_close_matches(method.casefold(), spellings, n=1)
    hint = f", did you mean '{spellings[nearest[0]]}'?" if nearest else ";"
    raise ModelKeyError(
        f"'{method}' is no method of the survey{hint} name one by its slug, or give a new one's key in the form "
        "Name_AuthorYearWord, as in HYDRA_Sehwag2020Hydra"
    )
