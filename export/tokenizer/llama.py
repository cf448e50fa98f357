# SPDX-License-Identifier: Apache-2.0
"""Reads a tokenizer of Llama's form, SentencePiece or `tokenizer.json`, into one normalised form.

Prompts do not belong here; nor does anything a bundle needs beyond its `tokenizer.json`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

from edgepose.errors import InvalidInputError
from edgepose.export.checkpoint import read_json_object

__all__ = ["IMAGE_PLACEHOLDER", "LlamaTokenizer", "load_tokenizer", "parse_sentencepiece"]

IMAGE_PLACEHOLDER = "<im_patch>"
"""Text of the token that stands for one image patch; it is in no embedding table."""

_SPACE = "▁"
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6  # SentencePiece's piece types


@dataclass(frozen=True, slots=True)
class LlamaTokenizer:
    """A checkpoint's tokenizer in the normalised form, and what its configuration says.

    The normalised `tokenizer` is a BPE with byte fallback that does nothing to a text but replace " " by "▁":
    no blank is put in front, nothing is added around, and special tokens are not found in text (`encode`
    treats `</s>` as four characters; the image placeholder is unknown to it). The last is a property of the
    object that `tokenizer.json` does not keep: set `encode_special_tokens` again after reading the file.
    """

    tokenizer: Tokenizer
    source: Path
    """File it was read from."""
    legacy: bool
    """Whether text after a special token gets a blank in front, as `transformers` did before it was
    corrected."""
    unknown: int
    begin: int
    end: int
    pad: int
    """Id that fills prompts on the left and answers after their end."""
    image: int
    """Id of the image placeholder in prompts; never embedded."""
    cleanup_spaces: bool
    """Whether decoding removes blanks before punctuation."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text, exactly as it stands."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids; special tokens are left out, one leading blank too.

        As SentencePiece decodes: each byte that is part of no character becomes U+FFFD, the characters around
        it stay. (The decoder of the `tokenizers` library gives up the whole run of bytes.)
        """
        text, run = "", b""
        special = (self.unknown, self.begin, self.end, self.pad)
        for number in ids:
            piece = self.tokenizer.id_to_token(number)
            if number in special or piece is None:
                continue
            if re.fullmatch(r"<0x[0-9A-F]{2}>", piece):
                run += bytes.fromhex(piece[3:5])
                continue
            text, run = text + _utf8(run), b""
            text += (piece if text else piece.removeprefix(_SPACE)).replace(_SPACE, " ")
        return text + _utf8(run)

    def require(self, token: str) -> int:
        """Id of a token by its exact text.

        Raises:
            InvalidInputError: There is no such token.
        """
        found = self.tokenizer.token_to_id(token)
        if found is None:
            raise InvalidInputError(
                f"[tokenizer] expected {self.source} to hold the token {token!r}, which coordinates are "
                "written with; got none; use a checkpoint with a tokenizer of the Llama 2 family"
            )
        return int(found)

    def check_vocabulary(self, embedding_rows: int, head_rows: int) -> None:
        """Checks that every token has a row in the embedding table and in the head; the placeholder alone may
        lie outside.

        Raises:
            InvalidInputError: The numbers disagree.
        """
        tokens = self.tokenizer.get_vocab_size()
        if not tokens == embedding_rows == head_rows:
            raise InvalidInputError(
                "[tokenizer] expected as many tokens as rows of the embedding table and of the head; got "
                f"{tokens} tokens in {self.source}, {embedding_rows} embedding rows, {head_rows} head rows; "
                "use the tokenizer files that belong to the weights"
            )

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the normalised form as a `tokenizer.json`."""
        self.tokenizer.save(os.fspath(path))

    @property
    def provenance(self) -> dict[str, object]:
        """What a bundle says of where its tokenizer comes from."""
        return {"tokenizer": self.source.name, "legacy_tokenizer": self.legacy}


def load_tokenizer(
    path: str | os.PathLike[str], *, config: Mapping[str, Any] | None = None
) -> LlamaTokenizer:
    """Loads the tokenizer of a checkpoint directory.

    Args:
        path: Directory with `tokenizer.model` (preferred) or `tokenizer.json`, and where there are
            `tokenizer_config.json`, `added_tokens.json`.
        config: `config.json`, for its `im_patch_token`; default: read from the directory where it is there.

    Returns:
        The tokenizer. `legacy` is true and `cleanup_spaces` false where the configuration does not say, as in
        `transformers` 4.31's `LlamaTokenizer`.

    Raises:
        InvalidInputError: Files are missing, broken or contradictory, or the tokenizer is not of Llama's
            form.
    """
    folder = Path(path)
    settings = _optional_json(folder / "tokenizer_config.json")
    if config is None:
        config = _optional_json(folder / "config.json")
    model, converted = folder / "tokenizer.model", folder / "tokenizer.json"
    if model.is_file():
        source, tokenizer = model, _from_sentencepiece(model)
    elif converted.is_file():
        source, tokenizer = converted, _from_json(converted)
    else:
        raise InvalidInputError(
            f"[tokenizer] expected tokenizer.model or tokenizer.json in {folder}; got neither; copy the "
            "tokenizer files of the checkpoint, or of the language model it was trained from, into that "
            "folder"
        )
    ids = {}
    for role, default in (("unk", "<unk>"), ("bos", "<s>"), ("eos", "</s>")):
        token = _token_text(settings.get(f"{role}_token")) or default
        found = tokenizer.token_to_id(token)
        if found is None:
            raise InvalidInputError(
                f"[tokenizer] expected {source} to hold the {role} token {token!r}; got none; use the "
                "tokenizer_config.json that belongs to it"
            )
        ids[role] = int(found)
    pad_text = _token_text(settings.get("pad_token"))
    pad = tokenizer.token_to_id(pad_text) if pad_text else None
    tokenizer.add_special_tokens(
        [
            AddedToken(tokenizer.id_to_token(i), normalized=False, special=True)
            for i in sorted(set(ids.values()))
        ]
    )
    tokenizer.encode_special_tokens = True
    return LlamaTokenizer(
        tokenizer=tokenizer,
        source=source,
        legacy=_flag(settings, "legacy", True),
        unknown=ids["unk"],
        begin=ids["bos"],
        end=ids["eos"],
        pad=ids["unk"] if pad is None else int(pad),
        image=_image_placeholder(folder, settings, config, tokenizer.get_vocab_size()),
        cleanup_spaces=_flag(settings, "clean_up_tokenization_spaces", False),
    )


def parse_sentencepiece(data: bytes, path: Path | None = None) -> Any:
    """Parses a SentencePiece model.

    Args:
        data: The serialised model.
        path: Where it was read from, for messages.

    Returns:
        The `ModelProto` message, with `pieces`, `normalizer_spec` and `trainer_spec`.

    Raises:
        InvalidInputError: The bytes are no SentencePiece model.
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    model: Any = sentencepiece_model_pb2
    try:
        parsed = model.ModelProto.FromString(data)
    except DecodeError as error:
        parsed = None
        cause: BaseException | None = error
    else:
        cause = None
    if parsed is None or not parsed.pieces:
        raise InvalidInputError(
            f"[tokenizer] expected {path or 'the data'} to be a SentencePiece model; got {len(data)} bytes "
            "that do not parse as one; download the file again (a Git LFS pointer of some 130 bytes is not "
            "the file)"
        ) from cause
    return parsed


def _from_sentencepiece(path: Path) -> Tokenizer:
    model = parse_sentencepiece(path.read_bytes(), path)
    defects = []
    if model.trainer_spec.model_type != 2:  # BPE
        defects.append(f"model type {model.trainer_spec.model_type}, not BPE (2)")
    if not model.trainer_spec.byte_fallback:
        defects.append("no byte fallback")
    if model.normalizer_spec.precompiled_charsmap or model.normalizer_spec.remove_extra_whitespaces:
        defects.append(f"text normalisation {model.normalizer_spec.name!r}")
    if model.trainer_spec.treat_whitespace_as_suffix:
        defects.append("blanks as suffixes")
    user_defined = [p.piece for p in model.pieces if p.type == _USER_DEFINED]
    if user_defined:
        defects.append(f"user-defined symbols {', '.join(user_defined[:5])}")
    if defects:
        raise InvalidInputError(
            f"[tokenizer] expected {path} to be a SentencePiece model of Llama's form (BPE with byte "
            f"fallback and without normalisation); got {'; '.join(defects)}; use a checkpoint with a "
            "tokenizer of the Llama family"
        )
    vocabulary = {piece.piece: number for number, piece in enumerate(model.pieces)}
    scores = {piece.piece: piece.score for piece in model.pieces if piece.type == _NORMAL}
    unknown = next((piece.piece for piece in model.pieces if piece.type == _UNKNOWN), "<unk>")
    return _bpe(vocabulary, _merges(vocabulary, scores), unknown)


def _merges(vocabulary: Mapping[str, int], scores: Mapping[str, float]) -> list[tuple[str, str]]:
    """Every split of a piece into two pieces, the best-scored results first.

    SentencePiece joins the neighbours whose union scores highest; BPE by rank joins the first pair of this
    list. Splits of one piece share a score, so their order among each other is free.
    """
    ranked = []
    for piece, score in scores.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in scores and right in scores:
                ranked.append((-score, vocabulary[piece], vocabulary[left], vocabulary[right], left, right))
    ranked.sort()
    return [(left, right) for *_, left, right in ranked]


def _from_json(path: Path) -> Tokenizer:
    stored = read_json_object(path, "download the file again")
    model = stored.get("model")
    defects = []
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
        got = model.get("type") if isinstance(model, dict) else type(model).__name__
        defects.append(f"a model of type {got}, not BPE")
        model = {}
    if not model.get("byte_fallback"):
        defects.append("no byte fallback")
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges"):
        if model.get(name):
            defects.append(f"{name} {model[name]!r}")
    defects += _text_defects(stored)
    vocabulary, merges = model.get("vocab"), model.get("merges")
    if not isinstance(vocabulary, dict) or not isinstance(merges, list):
        defects.append("no vocab and merges")
    if defects:
        raise InvalidInputError(
            f"[tokenizer] expected {path} to be a tokenizer of Llama's form (BPE with byte fallback; blanks "
            f"become '▁', one may be put in front); got {'; '.join(defects)}; put the checkpoint's "
            "tokenizer.model into the folder instead"
        )
    assert isinstance(vocabulary, dict) and isinstance(merges, list)
    pairs = [tuple(pair) if isinstance(pair, list) else tuple(str(pair).split(" ")) for pair in merges]
    special = {token.get("content") for token in stored.get("added_tokens") or [] if isinstance(token, dict)}
    pairs = [p for p in pairs if not special & {*p, "".join(p)}]
    try:
        return _bpe(vocabulary, pairs, str(model.get("unk_token") or "<unk>"))
    except Exception as error:  # the library raises plain Exception
        raise InvalidInputError(
            f"[tokenizer] expected vocab and merges of {path} to fit together; got {error}; download the "
            "file again"
        ) from error


def _text_defects(stored: Mapping[str, Any]) -> list[str]:
    """What a `tokenizer.json` does to text beyond replacing blanks and putting one in front."""
    defects = []
    normalizer: dict[str, Any] = stored.get("normalizer") or {}
    steps = normalizer.get("normalizers", []) if normalizer.get("type") == "Sequence" else [normalizer]
    for step in steps:
        plain = not step or (step.get("type") == "Prepend" and step.get("prepend") == _SPACE)
        replaces = step.get("type") == "Replace" and step.get("content") == _SPACE
        if not plain and not (replaces and step.get("pattern") == {"String": " "}):
            defects.append(f"normalizer {json.dumps(step, ensure_ascii=False)}")
    before = stored.get("pre_tokenizer")
    if before is not None and not (
        before.get("type") == "Metaspace"
        and before.get("replacement") == _SPACE
        and not before.get("split", True)
    ):
        defects.append(f"pre-tokenizer {json.dumps(before, ensure_ascii=False)}")
    if not defects and before is None and not any(step and step.get("type") == "Replace" for step in steps):
        defects.append("blanks that stay blanks")
    return defects


def _bpe(
    vocabulary: dict[str, int], merges: list[tuple[str, ...]] | list[tuple[str, str]], unknown: str
) -> Tokenizer:
    pairs = [(left, right) for left, right in merges]
    model = models.BPE(vocab=vocabulary, merges=pairs, unk_token=unknown, fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", _SPACE)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def _image_placeholder(
    folder: Path, settings: Mapping[str, Any], config: Mapping[str, Any], vocabulary: int
) -> int:
    """Id of the image placeholder, wherever the checkpoint names it; all places must agree."""
    named: dict[str, int] = {}
    for place, value in (
        ("added_tokens.json", _optional_json(folder / "added_tokens.json").get(IMAGE_PLACEHOLDER)),
        ("config.json", config.get("im_patch_token")),
    ):
        if isinstance(value, int):
            named[place] = value
    decoder = settings.get("added_tokens_decoder")
    for number, token in decoder.items() if isinstance(decoder, dict) else ():
        if _token_text(token) == IMAGE_PLACEHOLDER and str(number).isdecimal():
            named["tokenizer_config.json"] = int(number)
    if len(set(named.values())) > 1:
        raise InvalidInputError(
            f"[tokenizer] expected one id of the image placeholder {IMAGE_PLACEHOLDER} in {folder}; got "
            f"{', '.join(f'{value} in {place}' for place, value in named.items())}; use files of one "
            "training run"
        )
    return next(iter(named.values()), vocabulary)


def _optional_json(path: Path) -> dict[str, Any]:
    return read_json_object(path, "download the file again") if path.exists() else {}


def _utf8(run: bytes) -> str:
    """Decodes bytes, one U+FFFD for each that begins no character."""
    text = ""
    while run:
        for length in range(1, 5):
            try:
                character = run[:length].decode()
            except UnicodeDecodeError:
                continue
            break
        else:
            character, length = "\ufffd", 1
        text, run = text + character, run[length:]
    return text


def _token_text(token: object) -> str | None:
    """A token in a tokenizer configuration is a string, or an object with its text."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _flag(settings: Mapping[str, Any], name: str, default: bool) -> bool:
    value = settings.get(name)
    return default if value is None else bool(value)
