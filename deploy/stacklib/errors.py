"""The one exception of the stack."""


class StackError(Exception):
    """Something a person can put right. The text names the thing and the remedy."""
