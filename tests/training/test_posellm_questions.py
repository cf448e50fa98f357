# SPDX-License-Identifier: Apache-2.0
"""Packed questions: the tokens of inference, and each question computed as if it were alone."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from edgepose.errors import InvalidInputError  # noqa: E402
from edgepose.export.models import PoseModel  # noqa: E402
from edgepose.export.prompts import build_prompt, encode_prompt  # noqa: E402
from edgepose.export.tokenizer import LlamaTokenizer, load_tokenizer  # noqa: E402
from edgepose.keypoint_text import KeypointText  # noqa: E402
from edgepose.keypoint_wording import DEFAULT_TEXTS  # noqa: E402
from edgepose.training.posellm.model import (  # noqa: E402
    answer_logits,
    greedy_answers,
    initialise,
    nano_config,
)
from edgepose.training.posellm.questions import IGNORED, QuestionBook  # noqa: E402
from edgepose.training.posellm.vocabulary import write_tokenizer  # noqa: E402

from .tiny_nano import TINY  # noqa: E402

PATCHES = 9
TEXTS = [
    *(DEFAULT_TEXTS[name] for name in ("nose", "left wrist", "head_top")),
    KeypointText("tail", "The tail, which no vocabulary was made for; 12 cm."),
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> LlamaTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, vocabulary=TINY["vocabulary"])
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def book(tokenizer: LlamaTokenizer) -> QuestionBook:
    return QuestionBook(tokenizer, TEXTS, patches=PATCHES)


@pytest.fixture(scope="module")
def model(tokenizer: LlamaTokenizer) -> PoseModel:
    made = PoseModel(nano_config(TINY, tokenizer.tokenizer.get_vocab_size()))
    initialise(made, 5)
    return made.eval().requires_grad_(False)


def image(count: int) -> torch.Tensor:
    return torch.randn(count, PATCHES, 64, generator=torch.Generator().manual_seed(1))


def separate(tokenizer: LlamaTokenizer, text: KeypointText, answer: str) -> tuple[list[int], list[int]]:
    prompt = build_prompt("keypoint", tokenizer, PATCHES)
    asked = encode_prompt(prompt, tokenizer, name=text.name, description=text.description)
    return asked, tokenizer.encode(answer)


def test_fixed_sentences_are_few_tokens_and_digits_single_ones(tokenizer: LlamaTokenizer) -> None:
    prompt = build_prompt("keypoint", tokenizer, PATCHES)
    for text in DEFAULT_TEXTS.values():
        ids = encode_prompt(prompt, tokenizer, name=text.name, description=text.description)
        assert len(ids) - PATCHES <= 12
        assert tokenizer.decode(ids[2 + PATCHES :]).startswith(f"Keypoint: {text.description}\nQuestion: ")
    assert len(tokenizer.encode(" [0.512,0.334]")) == 13
    assert [tokenizer.require(piece) for piece in ("▁[", ".", ",", "]", *"0123456789")]


def test_the_tokenizer_is_the_same_every_time(tokenizer: LlamaTokenizer, tmp_path: Path) -> None:
    write_tokenizer(tmp_path, vocabulary=TINY["vocabulary"])
    assert (tmp_path / "tokenizer.model").read_bytes() == tokenizer.source.read_bytes()


def test_sentencepiece_reads_the_same_tokens(tokenizer: LlamaTokenizer) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    reader = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer.source))
    for text in DEFAULT_TEXTS.values():
        assert reader.encode(text.description) == tokenizer.encode(f" {text.description}")


def test_labels_are_the_tokens_of_the_written_answer(tokenizer: LlamaTokenizer, book: QuestionBook) -> None:
    xy = torch.tensor([[[0.0, 0.9996], [0.5, 0.1234], [0.25, 0.75]]])
    packed = book.pack(torch.tensor([[0, 3, -1]]), xy)
    assert packed.labels[0, 0].tolist() == [*tokenizer.encode(" [0.000,0.999]"), tokenizer.end]
    assert packed.labels[0, 1].tolist() == [*tokenizer.encode(" [0.500,0.123]"), tokenizer.end]
    assert packed.labels[0, 2].eq(IGNORED).all()


def test_packed_questions_equal_separate_sequences(
    tokenizer: LlamaTokenizer, book: QuestionBook, model: PoseModel
) -> None:
    names = torch.tensor([[2, 0, 3], [1, -1, 2]])
    xy = torch.rand(2, 3, 2, generator=torch.Generator().manual_seed(2))
    picture = image(2)
    packed = book.pack(names, xy)
    logits = answer_logits(model, book, picture, names, packed.ids)
    for row in range(2):
        for slot, number in enumerate(names[row].tolist()):
            if number < 0:
                continue
            x, y = xy[row, slot].tolist()
            asked, answer = separate(tokenizer, TEXTS[number], f" [{x:.3f},{y:.3f}]")
            ids = torch.tensor([asked + answer])
            hidden, _ = model.decoder(model.embed(ids, picture[row : row + 1]))
            wanted = model.lm_head(hidden)[0, len(asked) - 1 :]
            torch.testing.assert_close(logits[row, slot], wanted, rtol=1e-4, atol=1e-5)


def test_gradients_of_packed_questions_equal_those_of_separate_ones(
    tokenizer: LlamaTokenizer, book: QuestionBook
) -> None:
    """With gradients attention is computed by plain products."""
    model = PoseModel(nano_config(TINY, tokenizer.tokenizer.get_vocab_size()))
    initialise(model, 6)
    names, xy, picture = torch.tensor([[0, 3]]), torch.tensor([[[0.1, 0.2], [0.3, 0.4]]]), image(1)
    packed = book.pack(names, xy)
    logits = answer_logits(model, book, picture, names, packed.ids)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 2), packed.labels.flatten())
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    losses = []
    for number, (x, y) in zip((0, 3), xy[0].tolist(), strict=True):
        asked, answer = separate(tokenizer, TEXTS[number], f" [{x:.3f},{y:.3f}]")
        hidden, _ = model.decoder(model.embed(torch.tensor([asked + answer]), picture))
        after = model.lm_head(hidden)[0, len(asked) - 1 :]
        losses.append(torch.nn.functional.cross_entropy(after, torch.tensor([*answer, tokenizer.end])))
    (sum(losses) / 2).backward()
    assert found
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-6)


def test_greedy_answers_equal_decoding_anew_for_each_digit(book: QuestionBook, model: PoseModel) -> None:
    names, picture = torch.tensor([[0, 3, 1], [2, 2, 3]]), image(2)
    digits = torch.zeros(2, 3, 6, dtype=torch.long)
    for step, place in enumerate(book.free.tolist()):
        ids = book.pack(names, book.read(digits)).ids
        after = answer_logits(model, book, picture, names, ids)[:, :, place]
        digits[..., step] = after[..., book.digits].argmax(-1)
    assert torch.equal(greedy_answers(model, book, picture, names), book.read(digits))


def test_descriptions_with_braces_are_refused(tokenizer: LlamaTokenizer) -> None:
    with pytest.raises(InvalidInputError, match="without braces"):
        QuestionBook(tokenizer, [KeypointText("tail", "The {tail} of it.")], patches=PATCHES)
