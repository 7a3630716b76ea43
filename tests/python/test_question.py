"""A question is prepared and asked once, whoever uses it."""

import numpy as np
import pytest

import interpix as ix
from interpix import methods
from interpix.images import read_images
from interpix.methods.propagated import as_explainer
from interpix.normalization import Normalization
from interpix.question import Question, ask, explain_with

SIZE = (12, 18)


def make_photo(seed=0):
    return np.random.default_rng(seed).integers(0, 255, (24, 36, 3), dtype=np.uint8)


class Counting(ix.CallableClassifier):
    """Sums of halves of a picture; counts what it prepares and what it is asked."""

    def __init__(self, **options):
        super().__init__(self._logits, preprocess=self._halved, **options)
        self.prepared, self.asked = [], []

    def _halved(self, raw):
        self.prepared.append(raw)
        return np.ascontiguousarray(raw[::2, ::2].transpose(2, 0, 1), np.float32) / 255

    def _logits(self, batch):
        self.asked.append(batch.copy())
        return np.stack([batch[..., :9].sum(axis=(1, 2, 3)), batch[..., 9:].sum(axis=(1, 2, 3))], axis=1)

    def count(self, photo):
        """How often a photo was prepared."""
        return sum(np.array_equal(one, photo) for one in self.prepared)

    def count_asked(self, tensor):
        """How often the model was asked about this picture alone."""
        return sum(len(batch) == 1 and np.array_equal(batch[0], tensor) for batch in self.asked)


METHODS = {
    "rise": methods.RISE(count=4, grid=(2, 3)),
    "moxi": methods.MoXIMap(regions="2x3"),
    "own": lambda model, image, target: image[target],
}


def test_comparing_prepares_and_asks_about_a_photo_once_for_all_methods_and_metrics():
    model, photos = Counting(), [make_photo(0), make_photo(1)]
    ix.compare(model, photos, METHODS, ["insertion(steps=3)", "sic", "accuracy_deletion(regions='2x3')"])
    assert [model.count(photo) for photo in photos] == [1, 1]
    tensors = [photo[::2, ::2].transpose(2, 0, 1).astype(np.float32) / 255 for photo in photos]
    assert [model.count_asked(tensor) for tensor in tensors] == [1, 1]


@pytest.mark.parametrize("verb", [lambda moxi, photo: moxi.explain(photo), lambda moxi, photo: moxi.one_shot(photo)])
def test_a_search_prepares_and_asks_about_a_photo_once(verb):
    model, photo = Counting(), make_photo()
    verb(ix.MoXI(model, regions="2x3"), photo)
    assert model.count(photo) == 1


@pytest.mark.parametrize("name", METHODS)
def test_a_question_gets_the_answer_that_its_image_gets(name):
    model, photo = Counting(), make_photo()
    explainer = as_explainer(METHODS[name])
    direct = explainer.explain(model, photo, 1)
    asked = explain_with(explainer, Question.of(model, photo, 1))
    np.testing.assert_array_equal(asked.map, direct.map)
    np.testing.assert_array_equal(asked.image, direct.image)
    assert (asked.target, asked.prediction, asked.method) == (direct.target, direct.prediction, direct.method)


def test_an_explainer_of_the_users_own_gets_model_image_and_class():
    class Own:
        name = "own"

        def explain(self, model, image, target=None):
            self.got = model, image, target
            return Question.of(model, image, target).attribution(np.ones(SIZE), self.name, {})

    model, photo, own = Counting(), make_photo(), Own()
    explain_with(own, Question.of(model, photo, 1))
    assert own.got[0] is model
    assert np.array_equal(own.got[1], photo)
    assert own.got[2] == 1


def test_questions_share_batches_and_answer_as_one_alone():
    model, photos = Counting(), [make_photo(seed) for seed in range(3)]
    together = ask(model, read_images(photos)[0], [None, 1, 0])
    assert [len(batch) for batch in model.asked] == [3]
    for photo, question, target in zip(photos, together, [None, 1, 0], strict=True):
        alone = Question.of(model, photo, target)
        np.testing.assert_array_equal(question.logits, alone.logits)
        assert (question.target, question.prediction) == (alone.target, alone.prediction)


def test_a_search_refuses_a_question_to_another_model():
    question = Question.of(Counting(name="one"), make_photo())
    with pytest.raises(ix.ArgumentError, match="a question to `another`, got one"):
        ix.MoXI(Counting(name="another")).explain(question)


def test_a_question_can_be_put_to_another_model_without_preparing_it_again():
    model, photo = Counting(), make_photo()
    question = Question.of(model, photo, 0)
    other = ix.CallableClassifier(lambda batch: batch.sum(axis=(2, 3)))
    again = question.asked_of(other)
    np.testing.assert_allclose(again.logits, question.tensor.sum(axis=(1, 2)), rtol=1e-6)
    assert again.target == 0
    assert model.count(photo) == 1


def test_the_normalization_of_a_model_is_recovered_once():
    model = Counting()
    samples = [ix.metrics.Sample.of(model, make_photo(seed)) for seed in range(3)]
    for seed, sample in enumerate(samples):
        np.testing.assert_array_equal(sample.pixels, make_photo(seed)[::2, ::2])
    assert len(model.prepared) == 3 + 3, "three photos, and three pictures of one color"
    assert Normalization.of(model) is samples[0].normalization
