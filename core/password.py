"""The password of this installation, kept as a scrypt hash in the data folder."""

import hashlib
import hmac
import json
import secrets
from pathlib import Path

from core.errors import UserError
from core.files import Folders, write_json

# What a guess costs: 32 MiB and about a tenth of a second, as OWASP's cheat sheet asks at least.
COST, BLOCK, LANES = 1 << 15, 8, 1
MEMORY_BYTES = 64 << 20
FEWEST_CHARACTERS, MOST_CHARACTERS = 10, 1000


def is_set(folders: Folders) -> bool:
    return _file(folders).is_file()


def keep(password: str, folders: Folders) -> None:
    """Replace the password. UserError for one that is guessed too easily."""
    if not FEWEST_CHARACTERS <= len(password) <= MOST_CHARACTERS or len(set(password)) < 4:
        raise UserError(
            f"The password has {len(password)} characters, {len(set(password))} different ones.",
            f"Take {FEWEST_CHARACTERS} or more, at least 4 different ones. "
            "Four words that don't belong together do well.")
    salt = secrets.token_bytes(16)
    write_json(_file(folders), {"salt": salt.hex(), "scrypt": _hash(password, salt).hex()})


def admits(password: str, folders: Folders) -> bool:
    """Whether it is the password; False where none is set or its file can't be read."""
    try:
        kept = json.loads(_file(folders).read_text(encoding="utf-8"))
        salt, expected = bytes.fromhex(kept["salt"]), bytes.fromhex(kept["scrypt"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return len(password) <= MOST_CHARACTERS and hmac.compare_digest(
        _hash(password, salt), expected)


def _file(folders: Folders) -> Path:
    return folders.home / "password.json"


def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode("utf-8", "surrogatepass"), salt=salt, n=COST, r=BLOCK,
                          p=LANES, maxmem=MEMORY_BYTES)
