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
    "both": methods.GroupSearch(regions="2x3"),
    "catalogue": methods.CatalogueMap(regions="2x3", count=2),
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
    assert [len(batch) for batch in model.asked] == [3, 3]  # all, and the first of them beside two others
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
    assert len(model.prepared) == 3 + 3 + 9, "three photos, their negatives, and nine pictures of one color"
    assert Normalization.of(model) is samples[0].normalization


@pytest.mark.parametrize("takes", ["squares", "one size"])
def test_colors_are_recovered_from_the_only_photos_that_preprocessing_takes(takes):
    """F13: pictures of one color in the photo's own size."""

    def prepare(raw):
        assert raw.shape[0] == raw.shape[1] if takes == "squares" else raw.shape == (22, 30, 3)
        return (raw.transpose(2, 0, 1).astype(np.float32) - 100) / 50

    photo = make_photo(0)[:22, : 22 if takes == "squares" else 30]
    model = ix.CallableClassifier(lambda batch: batch.sum(axis=(2, 3)), preprocess=prepare)
    question = Question.of(model, photo)
    np.testing.assert_array_equal(question.image, photo)
    assert "colors" not in question.facts
    assert question.normalization.mean == pytest.approx((100,) * 3)


def test_preprocessing_that_runs_out_is_told():
    def prepare(_):
        raise StopIteration

    with pytest.raises(ix.ArgumentError, match=r"`preprocess`: expected a function .* StopIteration for a photo"):
        ix.MoXI(ix.CallableClassifier(by_batch_statistics, preprocess=prepare), regions="2x3").explain(make_photo(0))


def by_batch_statistics(batch):
    sums = batch.sum(axis=(2, 3))
    return (sums - sums.mean(axis=0)) / (sums.std(axis=0) + 1)


def with_rank_in_batch(batch):
    return np.stack([batch[:, 0].mean((1, 2)), np.arange(len(batch), 0, -1.0)], axis=1) + len(batch)


def by_the_whole_batch(batch):
    return batch.sum(axis=(2, 3)) * (batch.max() - batch.mean())


def from_three_on(batch):
    sums = batch.sum(axis=(2, 3))
    return sums - sums.mean(axis=0) if len(batch) > 2 else sums


def test_answers_to_a_flat_picture_that_depend_on_the_batch_are_told():
    """F7: its mirror image has the same statistics."""
    for flat in (0, 0.5, 1):
        with pytest.warns(UserWarning, match="depends on what else is in the batch"):
            Question.of(by_batch_statistics, np.full((3, 4, 6), flat, np.float32))


@pytest.mark.parametrize("model", [by_batch_statistics, with_rank_in_batch, by_the_whole_batch, from_three_on])
def test_answers_that_depend_on_the_batch_are_told(model):
    """F7: the batch."""
    image = np.random.default_rng(0).random((3, 4, 6), np.float32)
    with pytest.warns(UserWarning, match="depends on what else is in the batch, its logits by") as caught:
        result = ix.MoXI(model, regions="2x3").explain(image, 0)
    assert len(caught) == 1
    assert result.provenance["answers_depend_on"] == "batch"
    assert result.provenance["answers_differ_by"] > 0
    with pytest.warns(UserWarning, match="depends on what else is in the batch"):
        assert methods.RISE(count=2, baseline="zero").explain(model, image).provenance["answers_depend_on"] == "batch"


def test_answers_that_depend_on_chance_are_told():
    """F7: chance."""
    draw = np.random.default_rng(0)
    image = np.ones((3, 4, 6), np.float32)
    with pytest.warns(UserWarning, match="depends on chance, its logits by"):
        result = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)) * draw.random((len(batch), 3)), regions="2x3").explain(
            image
        )
    assert result.provenance["answers_depend_on"] == "chance"


def test_rounding_is_not_told():
    """F7: a batch of another size is summed in another order; half precision rounds much."""
    image = np.random.default_rng(0).random((3, 4, 6), np.float32)

    def rounded(batch):
        answers = batch.mean(axis=(2, 3)) * (1 + 1e-5 * len(batch))
        return answers.astype(np.float16) if len(batch) > 1 else answers.astype(np.float16) * np.float16(1.002)

    assert "answers_depend_on" not in ix.MoXI(rounded, regions="2x3").explain(image).provenance


def test_a_model_that_takes_one_picture_at_a_time_is_asked_so():
    """F7: what cannot be asked about two at once."""
    image = np.random.default_rng(0).random((3, 4, 6), np.float32)

    def single(batch):
        if len(batch) > 1:
            raise ValueError("one at a time")
        return batch.sum(axis=(2, 3))

    assert methods.RISE(count=3, batch_size=1, baseline="zero").explain(single, image).map.shape == (4, 6)

    assert "answers_depend_on" not in Question.of(single, image).facts
