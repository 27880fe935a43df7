"""Errors with a meaning for the caller."""


class ApxError(Exception):
    """Base class of every error that apx raises on purpose."""


class UserError(ApxError):
    """A mistake of the user: one plain sentence with the wrong value, the allowed ones and the fix.

    The command line prints the sentence and ends with exit status 2.
    """
