"""Names of columns as they can be shown and kept: each there, each once, no control characters."""

import itertools

import pyarrow


def unique_names(names: list[str]) -> list[str]:
    result: list[str] = []
    taken: set[str] = set()
    for number, name in enumerate(names, start=1):
        shown = "".join(c if c.isprintable() else " " for c in name)
        base = shown.strip() or f"column {number}"
        tries = itertools.chain([base], (f"{base} {n}" for n in itertools.count(2)))
        result.append(next(n for n in tries if n not in taken))
        taken.add(result[-1])
    return result


def cleaned(schema: pyarrow.Schema) -> pyarrow.Schema:
    """The same columns under names that can be kept; what was noted about names that change goes,
    since it is about others."""
    names = unique_names(schema.names)
    if names == schema.names:
        return schema
    return pyarrow.schema([field.with_name(name)
                           for field, name in zip(schema, names, strict=True)])
