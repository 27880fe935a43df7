"""`python -m apx_cli` is the apx command."""

from .main import main

main()
