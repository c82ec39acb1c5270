"""What happens to rows that can't be read: the file is refused, or they are left out by number."""

from dataclasses import dataclass, field

from core.errors import UserError

NAMED = 20  # numbers that are kept to be shown; the others are only counted
REMEDY = "Mend the file, or set Broken rows to 'skip'."


@dataclass
class BrokenRows:
    """Told of each broken row as it is met. With `skip` it is counted, else a UserError rises."""

    skip: bool
    count: int = 0
    named: list[str] = field(default_factory=list)

    def met(self, file: str, number: int, why: str) -> None:
        if not self.skip:
            raise UserError(f"{file}, row {number:,} is broken: {why}", REMEDY)
        self.count += 1
        if len(self.named) < NAMED:
            self.named.append(f"{file} row {number:,}")

    def in_words(self) -> str:
        """A sentence for the page; empty where all rows are whole."""
        if not self.count:
            return ""
        more = f" and {self.count - len(self.named):,} more" if self.count > len(self.named) else ""
        return f"{self.count:,} broken rows were left out: {', '.join(self.named)}{more}."


def ignore(file: str, number: int, why: str) -> None:
    """For a second reading of a file whose broken rows were told at the first."""
