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

    # Which rows are taken.
    eval_dataset: str = setting(
        "", "data", "Evaluation data set",
        "Held-out rows from a data set of their own. Empty: from the same one.")
    eval_share: float = setting(
        0.0, "data", "Share held out",
        "Share of the rows that is held out, in place of a number. 0: Evaluation rows decides.",
        low=0.0, high=0.5)
    stratify: str = setting(
        "no", "data", "Spread rows",
        "Draws rows so that even a small part has each label, or each length, in its share.",
        choices=("no", "by label", "by length"))
    duplicates: str = setting(
        "keep", "data", "Repeated rows",
        "Leaves out rows that repeat another one, equally or nearly, and training rows that "
        "repeat a held-out one.", choices=("keep", "leave equal ones out", "leave near ones out"))
    min_characters: int = setting(
        0, "data", "Shortest row", "In characters; shorter rows are left out. 0: any.", low=0)
    max_characters: int = setting(
        0, "data", "Longest row", "In characters; longer rows are left out. 0: any.", low=0)
    languages: tuple[str, ...] = setting(
        (), "data", "Languages", "Keeps rows in these languages only, such as en, zh. Empty: all.")
    keep_pattern: str = setting(
        "", "data", "Keep rows with", "A regular expression (RE2); rows without it are left out.")
    drop_pattern: str = setting(
        "", "data", "Leave out rows with", "A regular expression (RE2); rows with it are left out.")

    # What is mixed in.
    general_share: float = setting(
        0.0, "data", "General data",
        "Share of everyday questions among the training rows, so that the model forgets less.",
        low=0.0, high=0.9, step=0.05)
    general_dataset: str = setting(
        "sample:general", "data", "General data set", "Where the everyday questions come from.")
    mix: str = setting(
        "", "data", "Other data sets",
        "One a line: name = data set * weight. Weight 0.5 adds half as many rows as the main one "
        "has.")

    # Changed copies of training rows.
    augment_copies: int = setting(
        0, "data", "Changed copies",
        "How many changed copies each training row gets; originals stay. 0: none.", low=0, high=20)
    typo_rate: float = setting(
        0.05, "data", "Typing errors", "Share of the words that get one.", low=0.0, high=0.5)
    drop_rate: float = setting(
        0.0, "data", "Dropped words", "Share of the words that are left out.", low=0.0, high=0.5)
    swap_rate: float = setting(
        0.0, "data", "Swapped words", "Share of the words that change place with the next one.",
        low=0.0, high=0.5)
    synonym_rate: float = setting(
        0.0, "data", "Synonyms",
        "Share of the words that are replaced; dictionaries are fetched on first use.",
        low=0.0, high=0.5)
    paraphrase_share: float = setting(
        0.0, "data", "Paraphrases",
        "Share of the training rows that the base model says in other words.", low=0.0, high=1.0)
    augment_seed: int = setting(
        42, "data", "Seed of changes", "Decides what is changed.", low=0, high=2**32 - 1)

    # Against learned bias.
    counterfactual: str = setting(
        "off", "data", "Counterfactual rows",
        "Learns rows that name a group a second time with the group exchanged ('she' for 'he'), "
        "against learned bias. Word lists: assets/fairness.",
        choices=("off", "gender", "region", "age", "all"))
    balance_answers: bool = setting(
        False, "data", "Balance answers",
        "Repeats rows of rarer labels until each label is learned equally often.")
