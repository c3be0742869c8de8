"""The family of errors: whatever lmlab itself has to say derives from LmlabError.

Each room defines its own, named for what went wrong; a wrong argument is Python's own
TypeError or ValueError, as everywhere.
"""


class LmlabError(Exception):
    """What went wrong, where, and what to do; the message is for the user's eyes."""
