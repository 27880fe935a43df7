"""Where the files of this package are."""

import os


def schema_file(name: str) -> str:
    """Return the path of a schema, whether or not there is one of that name."""
    return os.path.join(os.path.dirname(__file__), "schemas", f"{name}.json")
