"""Keeps libraries' progress bars and deprecation notes out of logs that people read."""

import os
import warnings


def quieten() -> None:
    """Call before the libraries are imported; they read these variables then."""
    for name, value in {"TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error",
                        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
                        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
                        "HF_HUB_DISABLE_TELEMETRY": "1"}.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", category=FutureWarning)
