"""What is served to other programs, and to whom: the switch, the model, the hash of the key."""

import hashlib
import hmac
import json
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from core.files import Folders, write_json


@dataclass(frozen=True)
class Served:
    """Off until someone switches it on. `run` is a run's name, or '' for the base model that
    `settings` name. Only a hash of the key is kept: it is random, so none can be guessed from its
    hash."""

    is_on: bool = False
    run: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    key_sha256: str = ""

    @property
    def model(self) -> str:
        """The name under which programs ask for it."""
        return self.run or Path(str(self.settings.get("base_model", "base"))).name.removeprefix(
            "starter:")

    def admits(self, key: str) -> bool:
        return bool(self.key_sha256) and hmac.compare_digest(_hash(key), self.key_sha256)


def read(folders: Folders) -> Served:
    try:
        raw = json.loads(_file(folders).read_text(encoding="utf-8"))
        return Served(**raw)
    except (OSError, ValueError, TypeError):
        return Served()


def switch_on(folders: Folders, run: str, settings: dict[str, Any]) -> str:
    """Serve this model from now on; returns a new key, which can't be had again. Older keys end."""
    key = f"td-{secrets.token_urlsafe(32)}"
    write_json(_file(folders), asdict(Served(True, run, settings, _hash(key))))
    return key


def switch_off(folders: Folders) -> None:
    _file(folders).unlink(missing_ok=True)


def _file(folders: Folders) -> Path:
    return folders.home / "served.json"


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
