"""TuneDesk: fine-tune a language model on your own data by clicking. `python app.py --help`."""

import argparse
import getpass
import sys
from pathlib import Path

from core.errors import UserError
from core.files import Folders, default_folders


def main() -> None:
    options = _arguments()
    folders = default_folders(options.data_folder)
    try:
        folders.make()
        if options.command == "train":
            from core.training.headless import train_from_file

            sys.exit(train_from_file(options.settings, folders))
        if options.command == "export":
            from core.export.headless import export_run

            sys.exit(export_run(options.run, options.to, folders))
        if options.command == "password":
            _set_password(folders)
        elif options.command == "fetch":
            _fetch(options.model, folders)
        elif options.command == "elsewhere":
            _take_elsewhere(options.what, Path(options.to), folders)
        else:
            serve(options, folders)
    except UserError as error:
        sys.exit(f"{error.problem}\n{error.remedy}")
    except OSError as error:
        sys.exit(f"The data folder {folders.home} can't be used: {error.strerror}.\n"
                 "Choose another with --data-folder.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="app.py", description=__doc__)
    parser.add_argument("--data-folder", metavar="FOLDER",
                        help="where runs, models and data lie (default: ~/TuneDesk)")
    parser.add_argument("--port", type=int, default=7860,
                        help="the next free one is taken if it is in use")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS",
                        help="listen at another address than 127.0.0.1, 0.0.0.0 for all: demands "
                             "a password")
    parser.add_argument("--name", action="append", default=[],
                        help="a host name by which it is reached, a tunnel's for example: demands "
                             "a password")
    parser.add_argument("--upload-limit", type=int, default=2000, metavar="MB",
                        help="the largest file that the page takes in, in megabytes")
    parser.add_argument("--no-browser", action="store_true", help="don't open the page")
    parser.add_argument("--window", action="store_true", help="open the page in its own window")
    commands = parser.add_subparsers(dest="command", metavar="")
    train = commands.add_parser("train", help="train from a YAML file, without a page")
    train.add_argument("settings", help="a YAML file of settings, or the name of a preset")
    export = commands.add_parser("export", help="carry a run's model away, proven")
    export.add_argument("run", help="a run's name, or 'last' for the newest with an adapter")
    export.add_argument("--to", default="merged", metavar="FORM",
                        help="adapter, merged, gguf-f16, gguf-bf16, gguf-q8_0, gguf-q4_k_m, ...")
    fetch = commands.add_parser("fetch", help="bring a model to this computer")
    fetch.add_argument("model", nargs="?", default="starter:SmolLM2-135M-Instruct")
    commands.add_parser("password", help="set the password that is asked for from then on")
    elsewhere = commands.add_parser("elsewhere", help="pack a run to train on another machine")
    elsewhere.add_argument("what", help="a run, a YAML file of settings, or the name of a preset")
    elsewhere.add_argument("--to", metavar="ZIP", default="elsewhere.zip")
    return parser.parse_args()


def _fetch(model: str, folders: Folders) -> None:
    from core.model.hub import locate

    print(locate(model, folders, on_progress=lambda words, share: print(
        words if share is None else f"{words}, {share:.0%}", end="\r", flush=True)))


def _set_password(folders: Folders) -> None:
    """Asked for at the keyboard, or the first line of what is piped in: never an argument, which
    every user of the machine could read."""
    from core import password

    if sys.stdin.isatty():
        given = getpass.getpass("New password: ")
        if getpass.getpass("Once more: ") != given:
            raise UserError("The two differ.", "Try again.")
    else:
        given = sys.stdin.readline().rstrip("\r\n")
    password.keep(given, folders)
    print("The password is set. A server that runs asks for it when it is started again.")


def _take_elsewhere(what: str, target: Path, folders: Folders) -> None:
    from core.export import elsewhere
    from core.training.headless import named_settings
    from core.training.run import find_run

    here = (folders.runs / what / "config.yaml").is_file()
    config = find_run(folders.runs, what).config() if here else named_settings(what, folders)
    print(elsewhere.pack(config, folders, target))


def serve(options: argparse.Namespace, folders: Folders) -> None:
    """The page, until it is interrupted; runs at work go on without it."""
    from core.export.exports import Exports
    from core.process import Process
    from core.training.archive import Archive
    from core.training.metrics import Reader
    from core.training.queue import Queue
    from ui import launch
    from ui.services import Services

    reader = Reader()
    chat = Process("core.chat.talk:Talk", folders, "chat process")
    examiner = Process("core.evaluation.examiner:Examiner", folders, "evaluation process")

    def make_room() -> str:
        why = "A run starts and needs the device."
        return " ".join(filter(None, (chat.make_room(why), examiner.make_room(why))))

    exports = Exports(folders, Process("core.export.work:Exporter", folders, "export process"))
    services = Services(
        folders, Process("core.desk:Desk", folders, "desk process"), chat,
        Queue(folders, before_start=make_room), reader, Archive(folders.runs, reader),
        Archive(folders.trash, reader), examiner, exports)
    listening = launch.Listening(options.port, options.host, tuple(options.name),
                                 options.upload_limit)
    launch.serve(services, listening, own_window=options.window,
                 open_browser=not options.no_browser)


if __name__ == "__main__":
    main()
