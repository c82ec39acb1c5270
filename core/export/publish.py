"""An export uploaded to the Hugging Face Hub or to ModelScope."""

import os
import re
from collections.abc import Iterator
from typing import Any

from core.errors import UserError
from core.reach import require_hub

PLACES = {"huggingface": "Hugging Face Hub", "modelscope": "ModelScope"}
KEPT_HERE = ["export.json"]  # tells of this computer's folders


def push(record: dict[str, Any], repository: str, where: str, private: bool
         ) -> Iterator[dict[str, Any]]:
    """Yields phases, at the end {"done": {"address": url}}. The token is the environment's or that
    of an earlier login; it never passes through the page."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise UserError(f"'{repository}' is no repository.", "It looks like 'owner/name'.")
    if not record["proof"]["passed"]:
        raise UserError("This export didn't pass its proof, so it isn't given to others.",
                        "Export it anew, or choose another form.")
    if where not in PLACES:
        raise UserError(f"There is no place '{where}'.", f"Choose of {', '.join(PLACES)}.")
    yield {"phase": f"Uploading to {PLACES[where]}", "share": None}
    upload = _to_hugging_face if where == "huggingface" else _to_modelscope
    yield {"done": {"address": upload(record["folder"], repository, private)}}


def _to_hugging_face(folder: str, repository: str, private: bool) -> str:
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError

    if not get_token():
        raise UserError("There is no token for the Hugging Face Hub on this computer.",
                        "Run 'hf auth login' with a token that may write, or set HF_TOKEN; then "
                        "push again.")
    require_hub(f"The repository '{repository}'", "Try again when you are online.")
    api = HfApi()
    try:
        address = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, ignore_patterns=KEPT_HERE,
                          commit_message="Upload from TuneDesk")
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise _refused("the Hugging Face Hub", repository, error) from error
    return str(address)


def _to_modelscope(folder: str, repository: str, private: bool) -> str:
    try:
        from modelscope.hub.api import HubApi
    except ImportError as error:
        raise UserError("ModelScope's package isn't installed.",
                        "Run: pip install modelscope. Then push again.") from error
    token = os.environ.get("MODELSCOPE_API_TOKEN")
    api = HubApi()
    try:
        if token:
            api.login(token)
        api.create_repo(repository, visibility="private" if private else "public",
                        repo_type="model", exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, ignore_patterns=KEPT_HERE,
                          commit_message="Upload from TuneDesk")
    except Exception as error:  # its client raises classes of its own and of requests
        raise _refused("ModelScope", repository, error) from error
    return f"https://modelscope.cn/models/{repository}"


def _refused(hub: str, repository: str, error: Exception) -> UserError:
    first = (str(error) or type(error).__name__).strip().splitlines()[0]
    return UserError(f"'{repository}' couldn't be uploaded to {hub}: {first}",
                     "Check the name, and that your token may write there; then push again. "
                     "Nothing here was changed.")
