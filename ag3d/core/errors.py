"""The one exception that a user is meant to read."""

MOST_LETTERS = 1500  # of a message: what a file says is quoted, and may be long


class UserError(Exception):
    """Something the user can put right. The text names the file or the key, what is wrong, and what to do.

    Commands print it without a traceback and exit with status 2.
    """


def printable(text: object) -> str:
    """One line that a terminal and a log show as it is: files and their names may hold line breaks and commands to terminals."""
    whole = " ".join(str(text).splitlines())
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in whole[:MOST_LETTERS])
    return shown[:MOST_LETTERS] + " …" if len(shown) > MOST_LETTERS or len(whole) > MOST_LETTERS else shown
