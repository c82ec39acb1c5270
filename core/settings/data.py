"""Which rows are learned, and how a row becomes tokens."""

from dataclasses import dataclass

from core.settings.setting import setting


@dataclass(frozen=True)
class DataSettings:
    """Settings of the group 'data'."""

    dataset: str = setting(
        "sample:film-reviews", "data", "Data set",
        "A sample, a file or folder on this computer (several with ; between), a Hugging Face id, "
        "or modelscope: and an id.")
    dataset_config: str = setting("", "data", "Configuration", "Sub-set name of a hub data set.")
    dataset_revision: str = setting(
        "", "data", "Data revision", "Branch, tag or commit of a hub data set. Empty: the newest.")
    train_split: str = setting("train", "data", "Training split", "Which split is learned.")
    eval_split: str = setting(
        "", "data", "Evaluation split",
        "Which split is held out. Empty: rows are set aside from the training split.")
    layout: str = setting(
        "auto", "data", "Layout", "How a row becomes a dialogue. Auto looks at the columns.",
        choices=("auto", "messages", "conversations", "preference", "reasoning", "instruction",
                 "question", "completion", "document", "labelled", "text"))
    prompt_column: str = setting("", "data", "Prompt column", "Empty: found by its name.")
    input_column: str = setting("", "data", "Context column", "Text that follows the prompt.")
    answer_column: str = setting("", "data", "Answer column", "What the model should answer.")
    system_column: str = setting("", "data", "System column", "Text of the system turn.")
    reasoning_column: str = setting(
        "", "data", "Reasoning column", "What the model should think before it answers.")
    label_words: str = setting(
        "", "data", "Words of labels",
        "What label ids mean: 'negative, positive' counts from 0; '1=bad, 5=good' names them. "
        "Empty: the data set's own names.")
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
        "cut", "data", "Longer rows",
        "Cut the end off, or the beginning (cut left), or the prompt so that the answer stays (cut "
        "context); leave the whole row out (drop), or learn it in pieces (split).",
        choices=("cut", "cut left", "cut context", "drop", "split"))
    chat_template: str = setting(
        "", "data", "Chat template",
        "How a dialogue becomes one text. Empty: the model's own, or 'plain' where it has none. "
        "Else plain, chatml, alpaca, or a template in Jinja.")
    file_encoding: str = setting(
        "auto", "data", "Encoding", "Of text files. Auto looks at the file.",
        choices=("auto", "utf-8", "utf-16", "gb18030", "big5", "shift_jis", "euc_kr", "cp1251",
                 "cp1252"))
    broken_rows: str = setting(
        "stop", "data", "Broken rows",
        "Rows that can't be read, such as one with too many cells: stop and name the first, or "
        "skip them and name them.", choices=("stop", "skip"))
    text_rows: str = setting(
        "paragraph", "data", "A row of a text file", "What one row is in plain text and Markdown.",
        choices=("paragraph", "line", "file"))
    packing: bool = setting(
        True, "data", "Join rows without padding",
        "Rows of a batch are laid end to end and can't see each other. Faster, same result.")
