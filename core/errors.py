"""The one kind of error that a person should read."""


class UserError(Exception):
    """Something a person can fix.

    `problem` says what is wrong with the value that was found, `remedy` what to do; both are whole
    sentences. Anything that isn't a UserError is a bug and rises with its traceback.
    """

    def __init__(self, problem: str, remedy: str = ""):
        super().__init__(f"{problem} {remedy}".strip())
        self.problem = problem
        self.remedy = remedy
