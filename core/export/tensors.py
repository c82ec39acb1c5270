"""Weight files, read and written tensor by tensor, so that a model never lies in memory whole."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from core.errors import UserError

# The names that the safetensors format has for what torch calls these.
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
          "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
          "U8": torch.uint8, "BOOL": torch.bool}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
SHARD_BYTES = 5 * 10**9


@dataclass(frozen=True)
class Spec:
    """A tensor's form; `file` is where it lies, None while it isn't written."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    file: Path | None = None

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        return self.count * self.dtype.itemsize


def read_specs(folder: Path) -> dict[str, Spec]:
    """Every tensor of a model folder by its name, without reading weights; file by file."""
    files = _weight_files(folder)
    if not files:
        raise UserError(f"The folder '{folder}' holds no weights.", "Fetch the model anew.")
    specs: dict[str, Spec] = {}
    for file in files:
        with safe_open(file, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - it isn't a dict
                part = opened.get_slice(name)
                dtype = DTYPES.get(part.get_dtype())
                if dtype is None:
                    raise UserError(
                        f"The base model's weights are {part.get_dtype()}, not 16 or 32 bit.",
                        "Merging needs the 16-bit weights: give the folder of such a model.")
                specs[name] = Spec(dtype, tuple(part.get_shape()), file)
    return specs


def read_tensors(specs: dict[str, Spec]) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of `specs` in their order, one in memory at a time."""
    opened, at = None, None
    for name, spec in specs.items():
        if spec.file != at:
            at = spec.file
            opened = safe_open(at, "pt").__enter__()
        yield name, opened.get_tensor(name)


def _weight_files(folder: Path) -> list[Path]:
    for index in folder.glob("*.safetensors.index.json"):
        named = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return [folder / Path(name).name for name in sorted(set(named))]
    single = folder / "model.safetensors"
    return [single] if single.is_file() else []


def write_tensors(folder: Path, specs: dict[str, Spec],
                  tensors: Iterator[tuple[str, torch.Tensor]]) -> Iterator[float]:
    """Write tensors as they come, in the order of `specs`, to safetensors files of at most 5 GB
    with an index; yields the share that is done."""
    shards = _shards(specs)
    names = ["model.safetensors"] if len(shards) == 1 else [
        f"model-{number:05}-of-{len(shards):05}.safetensors"
        for number in range(1, len(shards) + 1)]
    total, done = sum(spec.size_bytes for spec in specs.values()), 0
    for file, shard in zip(names, shards, strict=True):
        with (folder / file).open("wb") as out:
            out.write(_header({name: specs[name] for name in shard}))
            for expected in shard:
                name, tensor = next(tensors)
                assert name == expected, f"{name} came where {expected} was due"
                out.write(_raw(tensor, specs[name]))
                done += specs[name].size_bytes
                yield done / total
    if len(shards) > 1:
        weights = {name: file for file, shard in zip(names, shards, strict=True) for name in shard}
        (folder / "model.safetensors.index.json").write_text(json.dumps(
            {"metadata": {"total_size": total}, "weight_map": weights}, indent=1))


def _shards(specs: dict[str, Spec]) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    size = 0
    for name, spec in specs.items():
        if shards[-1] and size + spec.size_bytes > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += spec.size_bytes
    return shards


def _header(specs: dict[str, Spec]) -> bytes:
    """What a safetensors file begins with: a length of 8 bytes and JSON of that length, filled up
    with spaces so that the weights begin at a multiple of 8."""
    about: dict[str, object] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for name, spec in specs.items():
        about[name] = {"dtype": NAMES[spec.dtype], "shape": list(spec.shape),
                       "data_offsets": [begin, begin + spec.size_bytes]}
        begin += spec.size_bytes
    text = json.dumps(about, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _raw(tensor: torch.Tensor, spec: Spec) -> memoryview:
    assert tuple(tensor.shape) == spec.shape, f"{tuple(tensor.shape)} where {spec.shape} was due"
    flat = tensor.to(spec.dtype).contiguous().flatten()
    return memoryview(flat.view(torch.uint8).numpy())
