"""Which rows are learned and which are held out."""

from datasets import Dataset

from core.errors import UserError


def draw(rows: Dataset, count: int, seed: int) -> Dataset:
    """`count` rows in an order decided by `seed`, as datasets' shuffle(seed).select(range(count));
    0 means all rows."""
    shuffled = rows.shuffle(seed=seed)
    return shuffled if count == 0 or count >= len(rows) else shuffled.select(range(count))


def hold_out(rows: Dataset, train_rows: int, eval_rows: int, seed: int) -> tuple[Dataset, Dataset]:
    """Train and eval rows from one split, never the same row twice. The held-out rows are the last
    ones of the shuffled order; at most half of the rows are held out."""
    shuffled = rows.shuffle(seed=seed)
    held = min(eval_rows, len(rows) // 2)
    if len(rows) - held < 1:
        raise UserError(f"The data set has {len(rows)} rows, too few to hold some out.",
                        "Use more rows, or set Evaluation rows to 0.")
    learned = len(rows) - held if train_rows == 0 else min(train_rows, len(rows) - held)
    return (shuffled.select(range(learned)),
            shuffled.select(range(len(rows) - held, len(rows))))
