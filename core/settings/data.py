"""Which rows are learned, and how a row becomes tokens."""

from dataclasses import dataclass

from core.settings.setting import setting


@dataclass(frozen=True)
class DataSettings:
    """Settings of the group 'data'."""

    dataset: str = setting(
        "sample:film-reviews", "data", "Data set",
        "A sample, a file or folder on this computer, or a Hugging Face id.")
    dataset_config: str = setting("", "data", "Configuration", "Sub-set name of a hub data set.")
    train_split: str = setting("train", "data", "Training split", "Which split is learned.")
    eval_split: str = setting(
        "", "data", "Evaluation split",
        "Which split is held out. Empty: rows are set aside from the training split.")
    layout: str = setting(
        "auto", "data", "Layout", "How a row becomes a dialogue. Auto looks at the columns.",
        choices=("auto", "messages", "conversations", "instruction", "question", "labelled",
                 "text"))
    prompt_column: str = setting("", "data", "Prompt column", "Empty: found by its name.")
    input_column: str = setting("", "data", "Context column", "Text that follows the prompt.")
    answer_column: str = setting("", "data", "Answer column", "What the model should answer.")
    system_column: str = setting("", "data", "System column", "Text of the system turn.")
    instruction: str = setting(
        "", "data", "Instruction",
        "Put before each text or prompt; dialogues stay as they are. Empty: the sample's own.")
    train_rows: int = setting(
        0, "data", "Training rows", "How many rows are learned, drawn with the seed. 0: all.",
        low=0, simple=True)
    eval_rows: int = setting(
        100, "data", "Evaluation rows", "How many rows are held out to measure. 0: none.", low=0)
    data_seed: int = setting(42, "data", "Data seed", "Decides which rows are drawn.",
                            low=0, high=2**32 - 1)
    loss_on: str = setting(
        "answers", "data", "Loss on", "Learn the answers only, or all tokens (plain text).",
        choices=("answers", "last answer", "all tokens"), simple=True)
    max_length: int = setting(
        512, "data", "Max length", "Tokens a row may have; memory grows with it.",
        low=16, high=1_048_576, simple=True)
    too_long: str = setting(
        "cut", "data", "Longer rows", "Cut the end off, or leave the whole row out.",
        choices=("cut", "drop"))
    packing: bool = setting(
        True, "data", "Join rows without padding",
        "Rows of a batch are laid end to end and can't see each other. Faster, same result.")
    counterfactual: str = setting(
        "off", "data", "Counterfactual rows",
        "Learns rows that name a group a second time with the group exchanged ('she' for 'he'), "
        "against learned bias. Word lists: assets/fairness.",
        choices=("off", "gender", "region", "age", "all"))
    balance_answers: bool = setting(
        False, "data", "Balance answers",
        "Repeats rows of rarer labels until each label is learned equally often.")
