"""That something is to be done later."""

from datetime import datetime


class Postponed(Exception):
    """A source is not to be read before `until`: it said so, or others of the same host come first; or a model has not answered
    that may take hours. That is no failure."""

    def __init__(self, until: datetime) -> None:
        self.until = until
        super().__init__(until)
