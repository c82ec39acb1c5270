"""Help in place: each concept in a few words, its picture, and where on the page it is used."""

import json
from dataclasses import asdict, dataclass

from core.files import Folders


@dataclass(frozen=True)
class Concept:
    """`at` are CSS selectors of what it explains; its picture is assets/concepts/<name>.svg."""

    name: str
    title: str
    words: str
    at: tuple[str, ...]


def _settings(*names: str) -> tuple[str, ...]:
    return tuple(f"#set-{name}" for name in names)


def _tiles(*keys: str) -> tuple[str, ...]:
    """Of the Train tab."""
    return tuple(f'#run-view .td-tile[data-key="{key}"]' for key in keys)


def _numbers(*keys: str) -> tuple[str, ...]:
    """Of an evaluation's tables."""
    return tuple(f'#evaluation-view [data-key="{key}"]' for key in keys)


CONCEPTS = (
    Concept("token", "Token",
            "Models read and write tokens: a frequent word is one, a rare one several. A hundred "
            "of them are about 75 English words or 60 to 100 Chinese characters. Memory and time "
            "grow with their number.", _settings("max_length")),
    Concept("template", "Chat template",
            "The marks with which a dialogue becomes one text: who speaks, where a turn ends. A "
            "model answers well with the marks that it has learned; training, chat and export use "
            "the same ones here.", _settings("chat_template")),
    Concept("learned", "Learned tokens",
            "The model reads the whole row and is corrected at the learned tokens only. Answers "
            "alone teach how to answer; all tokens also teach how to write the questions.",
            _settings("loss_on")),
    Concept("held-out", "Held-out rows",
            "Rows that are set aside and never learned. Only they show whether the model has "
            "understood something, as an exam with new questions does.",
            (*_settings("eval_rows"), "#evaluate-rows")),
    Concept("packing", "Rows without padding",
            "Rows differ in length. Padding fills the short ones up with empty tokens that cost as "
            "much as real ones. Joined rows waste nothing, and none can see another.",
            _settings("packing")),
    Concept("copies", "Changed copies",
            "Copies of a training row with slips, synonyms or other words, and the same answer. "
            "With few rows the model then learns the meaning and not the exact text.",
            _settings("augment_copies")),
    Concept("lora", "LoRA",
            "The base model stays as it is. Beside its large matrices small ones are learned, and "
            "what they make is added to the result: often less than 1 % of all parameters. That "
            "saves memory, and the adapter is a small file.", _settings("target_modules")),
    Concept("rank", "Rank",
            "How narrow the small matrices are: with rank 8, a matrix of 4,096 by 4,096 is changed "
            "by two of 4,096 by 8. A higher rank can learn more, needs more memory and forgets "
            "more.", _settings("lora_r")),
    Concept("alpha", "Alpha",
            "How strongly the adapter counts: what it adds is multiplied by alpha and divided by "
            "the rank. Twice the rank is usual; raising it is much like raising the learning rate.",
            _settings("lora_alpha")),
    Concept("dropout", "Dropout",
            "At each step a random share of the adapter's inputs is left out. No single path can "
            "be relied on, so less is learned by heart. It helps with few rows and slows learning "
            "a little.", _settings("lora_dropout")),
    Concept("quantization", "Quantization",
            "Weights are rounded to a few steps: 4 bits know 16 of them, 16 bits 65,536. The model "
            "takes a quarter of the memory and is a little less exact. The adapter itself isn't "
            "rounded.", _settings("base_weights")),
    Concept("precision", "Number formats",
            "bf16 reaches as far as fp32 and is less fine; fp16 is finer and overflows sooner. "
            "Half the bits are half the memory, and more speed where the hardware has them.",
            _settings("precision")),
    Concept("epoch", "Epoch",
            "One pass over all training rows. With 320 rows and a batch size of 8 it takes 40 "
            "steps. One to three are usual; with more, rows are soon learned by heart.",
            _settings("epochs")),
    Concept("batch", "Batch and step",
            "A step looks at a batch of rows, takes the mean of what each would change, and "
            "changes the weights once. Larger batches are steadier and need more memory; gradient "
            "accumulation adds up several small passes to the same step.",
            _settings("batch_size", "gradient_accumulation")),
    Concept("learning-rate", "Learning rate",
            "How far each step goes downhill. Too small, it hardly moves. Too large, it jumps over "
            "the valley, and the loss rises. 1e-4 to 1e-3 suit LoRA.",
            (*_settings("learning_rate"), *_tiles("learning_rate"))),
    Concept("schedule", "Schedule and warm-up",
            "At first steps are small, since the ground isn't known yet; then large; towards the "
            "end small again, so that the model settles in the valley.",
            _settings("lr_scheduler", "warmup_ratio")),
    Concept("weight-decay", "Weight decay",
            "Each step pulls the weights a little towards zero, so that they grow only where the "
            "data insists. A mild remedy against overfitting; 0.01 to 0.1 are usual.",
            _settings("weight_decay")),
    Concept("gradient", "Gradient",
            "The direction in which the loss rises most; a step goes the other way. Its norm is "
            "its length. Single peaks are normal, and clipping cuts them off; if it keeps growing, "
            "lower the learning rate.", (*_settings("max_grad_norm"), *_tiles("grad_norm"))),
    Concept("optimizer", "Optimizer",
            "It makes steps out of gradients. Adam keeps two running means for each learned "
            "weight, so that each gets a step of its own size; 8-bit kinds keep them in a quarter "
            "of the memory.", _settings("optimizer")),
    Concept("memory", "Speed or memory",
            "On the way back each layer's results are needed again. Keeping them is fastest; "
            "computing them a second time needs far less memory and about a third more time.",
            _settings("memory")),
    Concept("noise", "NEFTune noise",
            "Each training row is read a little blurred, with random noise on its embeddings. The "
            "model can't cling to the exact wording, which helps with few rows.",
            _settings("neftune_noise_alpha")),
    Concept("adversarial", "Adversarial training",
            "Each batch is learned a second time, pushed in the direction that hurts most. Answers "
            "become steadier against small changes of the wording; it takes twice the time.",
            _settings("adversarial_strength")),
    Concept("loss", "Loss, or cross-entropy",
            "Before each token the model gives every possible one a probability. The loss is its "
            "surprise at the right one: minus the logarithm of that probability, as a mean over "
            "the learned tokens. 0 is certain, 0.7 a coin toss, 2.3 one in ten.",
            (*_tiles("loss"), *_numbers("loss"))),
    Concept("overfitting", "Overfitting",
            "The model learns its rows by heart: the training loss still falls while the loss on "
            "held-out rows rises, and new rows are answered worse from there on. Stop early, train "
            "fewer epochs, or use more rows.",
            (*_tiles("eval_loss"), *_settings("early_stopping_patience"))),
    Concept("perplexity", "Perplexity",
            "The exponential of the loss: among how many equally likely tokens the model wavers. 1 "
            "is certain, 10 is one in ten. It compares models with the same tokenizer only.",
            _numbers("perplexity", "general_perplexity")),
    Concept("interval", "Interval, and more than chance",
            "With other rows the number would be another. The interval is made so that it holds "
            "the true value in 95 of 100 cases; few rows make it wide. Better and worse are said "
            "only where chance alone would hardly make such a difference.",
            _numbers("accuracy", "exact")),
    Concept("f1", "Macro F1",
            "F1 joins two questions about a label: how many of its rows are found, and how many of "
            "the finds are right. Macro is the plain mean over labels, so that a rare one counts "
            "as much as a frequent one.", _numbers("macro_f1", "said_macro_f1")),
    Concept("calibration", "Calibration",
            "Whether the model is as sure as it is right: of answers that it gives with 80 %, 80 "
            "of 100 should be right. The error is the mean distance from that.",
            _numbers("calibration")),
    Concept("overlap", "ROUGE, chrF and token F1",
            "They count what an answer shares with that of the data: words, pairs of words, the "
            "longest common order, pieces of words. They compare models well; the same meaning in "
            "other words counts as wrong.", _numbers("token_f1", "rouge1", "chrf")),
    Concept("forgetting", "Forgetting",
            "What is learned last is written over what was known before; general questions before "
            "and after show it. Against it: everyday rows in the mix, a smaller rank or learning "
            "rate, fewer steps.", (*_settings("general_share"), "#evaluate-forgetting",
                                   *_numbers("general_accuracy"))),
    Concept("bias", "Learned bias",
            "Where a group of people always comes with one answer, the model learns the group in "
            "place of the reason. The probe exchanges the group and looks whether the answer "
            "changes; counterfactual rows teach that it shouldn't.",
            (*_settings("counterfactual"), "#evaluate-fairness", *_numbers("shift"))),
    Concept("temperature", "Temperature",
            "Before a token is drawn, probabilities are sharpened (below 1) or flattened (above "
            "1). 0 always takes the likeliest; high values bring variety, and nonsense.",
            ("#chat-temperature", "#compare-temperature")),
    Concept("top-p", "Top-p",
            "Only the likeliest tokens that together make up this share may be drawn; the long "
            "tail of unlikely ones is cut off.", ("#chat-top-p", "#compare-top-p")),
    Concept("merging", "Merged adapters",
            "Adapters are added up with weights, as recipes are mixed. TIES leaves out small "
            "changes and settles in which direction each weight goes; DARE leaves out changes at "
            "random and scales the rest up, so that adapters disturb each other less.",
            ("#merge-way",)),
    Concept("export", "Forms of export",
            "An adapter needs its base model. Merged, both are one model in 16 bits. GGUF packs "
            "that into a single file for llama.cpp and Ollama, rounded to fewer bits where you "
            "like.", ("#export-form",)),
)


def head(folders: Folders) -> str:
    """What the page's head needs: words and pictures, and the script that puts them in place."""
    pictures = folders.assets / "concepts"
    told = [asdict(concept) | {"picture": (pictures / f"{concept.name}.svg").read_text(
        encoding="utf-8")} for concept in CONCEPTS]
    data = json.dumps(told, ensure_ascii=False).replace("</", "<\\/")
    script = (folders.assets / "concepts.js").read_text(encoding="utf-8")
    return (f'<script type="application/json" id="td-concepts">{data}</script>'
            f"<script>{script}</script>")
