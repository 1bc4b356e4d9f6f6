"""Vectors of Word2Vec: learnt from training texts alone, the same in every process, and part of a run's key."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from serlib import inputs, runs
from serlib.corpora.corpus import EMOTIONS, Corpus, Utterance
from serlib.embeddings import train_word2vec
from serlib.results import Record

WORDS = dict(zip(EMOTIONS, ("furious", "lovely", "table", "lonely"), strict=True))
TINY = {"epochs": 2, "batch_size": 16, "vectors": "word2vec", "model": {"hidden": 8, "embedding": 12}}


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    made = []
    for number in range(100):
        emotion, audio = EMOTIONS[number % 4], tmp_path / f"{number}.wav"
        audio.write_bytes(bytes([number]))
        speaker = f"Ses0{number % 5 + 1}F"
        text = f"the {WORDS[emotion]} house of number {number % 7}"
        made.append(
            Utterance(f"{speaker}_{number:03}", speaker, speaker[:5], "d", False, emotion, None, text, audio, 1.0)
        )
    return Corpus("made-up", tmp_path, made)


def plan(corpus: Corpus, **changes: object) -> runs.Run:
    how = {"folds": 1, "seeds": 1, "device": "cpu", "overrides": TINY | changes}
    return runs.plan("yoon2018", "tre", corpus, **how)[0]


def prepare(corpus: Corpus, **changes: object) -> runs.Fold:
    return runs.prepare(plan(corpus, **changes), corpus)


def run(corpus: Corpus, **changes: object) -> Record:
    return runs.make([plan(corpus, **changes)], corpus, progress=False, jobs=1)[0]


def test_words_in_like_company_are_alike() -> None:
    draw = random.Random(0)
    pairs = {"cat": "furry", "dog": "furry", "car": "loud", "bus": "loud"}
    texts = [[draw.choice("abcd"), noun, "is", pairs[noun]] for _ in range(300) for noun in pairs]
    vectors = train_word2vec(texts, 20)
    counts = Counter(word for text in texts for word in text)
    assert list(vectors) == sorted(counts, key=lambda word: (-counts[word], word))
    assert vectors.words[:3] == ("is", "furry", "loud")
    assert vectors.rows.shape == (11, 20) and vectors.rows.dtype == np.float32

    def cosine(a: str, b: str) -> float:
        return float(vectors[a] @ vectors[b] / np.linalg.norm(vectors[a]) / np.linalg.norm(vectors[b]))

    assert min(cosine("cat", "dog"), cosine("car", "bus")) > max(cosine("cat", "car"), cosine("dog", "bus"))
    cbow = train_word2vec(texts, 20, sg=0)
    assert cbow.words == vectors.words and not np.allclose(cbow.rows, vectors.rows)


def test_rare_words_and_no_words_have_none() -> None:
    assert set(train_word2vec([["twice", "once"], ["twice"]], 5)) == {"twice"}
    assert set(train_word2vec([["twice", "once"]], 5, min_count=1)) == {"twice", "once"}
    assert train_word2vec([], 5) == train_word2vec([[], ["once"]], 5) == {}
    assert train_word2vec([], 5).dims == 5
    with pytest.raises(ValueError, match=r"no setting of Word2Vec is called windows; expected some of sg, window, "):
        train_word2vec([["a", "a"]], 5, windows=3)
    with pytest.raises(ValueError, match="got dims=0"):
        train_word2vec([["a", "a"]], 0)


def test_another_seed_or_order_gives_others() -> None:
    texts = [["a", "b"], ["b", "c"], ["c", "a"]] * 5
    first, again = train_word2vec(texts, 5), train_word2vec(iter(texts), 5)
    assert all(np.array_equal(first[word], again[word]) for word in "abc")
    assert not np.array_equal(first["a"], train_word2vec(texts, 5, seed=1)["a"])


def test_the_same_in_processes_that_hash_differently() -> None:
    script = (
        "import hashlib; from serlib.embeddings import train_word2vec;"
        "texts = [[f'w{i * j % 23}' for j in range(1, 9)] for i in range(1, 200)];"
        "found = repr([(word, vector.tobytes()) for word, vector in train_word2vec(texts, 8).items()]);"
        "print(hash('a'), hashlib.md5(found.encode()).hexdigest())"
    )
    outputs = []
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout.split())
    assert outputs[0][0] != outputs[1][0]
    assert outputs[0][1] == outputs[1][1]


def test_only_texts_of_the_training_part_count(corpus: Corpus) -> None:
    fold = prepare(corpus)
    assert {vector.shape for vector in fold.vectors.values()} == {(12,)}
    assert set(fold.vectors) == set(fold.vocabulary.tokens) - {"<pad>", "<unk>"}
    others = {*fold.split.dev, *fold.split.test}
    changed = [replace(u, text="secret secret of the house") if u.id in others else u for u in corpus]
    for vocabulary in ("train", "corpus"):
        other = prepare(Corpus(corpus.name, corpus.root, changed), vocabulary=vocabulary)
        assert ("secret" in other.vocabulary.tokens) == (vocabulary == "corpus")
        assert other.vectors.keys() == fold.vectors.keys()
        assert all(np.array_equal(other.vectors[word], vector) for word, vector in fold.vectors.items())
    first = fold.split.train[0]
    changed = [replace(u, text="lovely the furious of") if u.id == first else u for u in corpus]
    other = prepare(Corpus(corpus.name, corpus.root, changed))
    assert not np.array_equal(other.vectors["lovely"], fold.vectors["lovely"])


def test_a_run_starts_from_them_and_says_so(corpus: Corpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fold = prepare(corpus, learning_rate=0.0, epochs=1)
    model, _ = runs.train(fold, seed=3, progress=False)
    row = model.text.embedding.weight[fold.vocabulary.tokens.index("furious")]
    torch.testing.assert_close(row, torch.from_numpy(fold.vectors["furious"]))

    with_vectors, without = run(corpus), run(corpus, vectors="random")
    assert without.settings["vectors"] is None
    assert with_vectors.settings["vectors"]["word2vec"]["window"] == 5
    assert with_vectors.settings["vectors"]["gensim"]
    assert with_vectors.key != without.key
    assert with_vectors.metrics["loss"] != without.metrics["loss"]
    monkeypatch.setattr("serlib.embeddings.word2vec.SETTINGS", {"sg": 1, "window": 4, "epochs": 1, "min_count": 2})
    assert plan(corpus).key not in (with_vectors.key, without.key)

    monkeypatch.chdir(tmp_path)  # a file of that name is another thing
    Path("word2vec").write_text("furious " + " ".join(["1"] * 12) + "\n")
    source, settings = inputs.Source(corpus), plan(corpus).settings
    assert inputs.Words().find(source, settings) == "word2vec"
    assert inputs.Words("random").find(source, settings) is None
    for file in (Path("word2vec"), "./word2vec"):
        assert inputs.Words(file).find(source, settings)["furious"].tolist() == [1] * 12
