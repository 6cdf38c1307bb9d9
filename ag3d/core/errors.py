"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Something the user can put right. The text names the file or the key, what is wrong, and what to do.

    Commands print it without a traceback and exit with status 2.
    """
