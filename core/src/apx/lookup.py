"""Names that users type: find what a name means, or say which names there are."""

import difflib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from apx.errors import UserError

T = TypeVar("T")


def choose(table: Mapping[str, T], name: str, what: str, *, also: str = "") -> T:
    """Return `table[name]`, or raise a UserError with the nearest name and all allowed ones.

    `what` is the noun of the sentence ("dataset"); `also` names further forms that are allowed ("folder:PATH").
    """
    if name in table:
        return table[name]
    allowed = ", ".join([*sorted(table), *([also] if also else [])])
    raise UserError(f"unknown {what} '{name}'{_did_you_mean(name, table)}; allowed: {allowed}")


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, list(names), n=1)
    return f", did you mean '{nearest[0]}'?" if nearest else ""


def import_factory(target: str, what: str) -> Callable[..., Any]:
    """Return the callable that `target` ("module:factory") names; the working directory is searched too.

    Raises a UserError where the form is wrong, the module cannot be found or it has no such callable. An error
    inside the user's module is the user's to see, and passes through.
    """
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise UserError(f"the {what} 'py:{target}' should read py:module:factory, as in py:mynet:make")
    factory = getattr(_import_user_module(module_name, what), attribute, None)
    if not callable(factory):
        raise UserError(f"the module '{module_name}' has no function '{attribute}' that makes a {what}")
    return factory


def _import_user_module(name: str, what: str) -> Any:
    # a console script does not have the working directory on its path, unlike `python -m`
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise  # the module exists and lacks one of its own imports
        raise UserError(f"no module '{name}' for the {what} here ({here}) or among installed packages") from None
    finally:
        sys.path.remove(here)


def call_with_accepted(factory: Callable[..., T], options: Mapping[str, Any]) -> T:
    """Call `factory` with those of `options` (by keyword) that its signature names."""
    return factory(**{key: value for key, value in options.items() if accepts(factory, key)})


def accepts(factory: Callable[..., Any], keyword: str) -> bool:
    """Say whether `factory` can be given `keyword`."""
    parameters = inspect.signature(factory).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return True
    found = parameters.get(keyword)
    return found is not None and found.kind is not found.POSITIONAL_ONLY
