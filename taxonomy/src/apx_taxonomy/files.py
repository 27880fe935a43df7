"""Where the schemas are: apart from what reads them, since a listing that finds nothing changed reads none."""

import os

SCHEMAS = os.path.join(os.path.dirname(__file__), "schemas")


def schema_file(name: str) -> str:
    """Return the path of a schema, whether or not there is one of that name."""
    return os.path.join(SCHEMAS, f"{name}.json")
