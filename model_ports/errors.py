"""The one exception for input that a user can correct."""


class InputError(ValueError):
    """Bad input: the message names the offending thing and the remedy.

    Launch scripts print the message, without a traceback, and exit with code 2.
    """
