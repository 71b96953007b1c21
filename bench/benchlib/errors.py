"""What goes wrong in a benchmark."""


class Failed(Exception):
    """Something a person can put right. The text names the thing and the remedy."""
