"""Detectors and segmentation: what is found is known by hand, or computed by a loop in plain PyTorch."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import interpix as ix
from interpix import methods, metrics, outputs, plots
from interpix.models.protocol.memo import Memo, doubting
from interpix.outputs.boxes import overlaps
from interpix.words import group_title

HEIGHT, WIDTH = 24, 36
NAMES = ["red", "green", "blue"]
REGIONS = "4x6"
# A red thing of four patches and a green one of two.
RED, GREEN = (6, 6, 18, 18), (24, 12, 36, 18)


def picture():
    image = np.zeros((3, HEIGHT, WIDTH), np.float32)
    for channel, (left, top, right, bottom) in ((0, RED), (1, GREEN)):
        image[channel, top:bottom, left:right] = 1
    return image


def box_of(channel):
    """What a person would draw around what is bright: left, top, right, bottom."""
    rows, columns = np.flatnonzero(channel.any(axis=1)), np.flatnonzero(channel.any(axis=0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


class Finder:
    """Finds what is bright in each channel; the score grows with how much there is. It counts the pictures."""

    def __init__(self):
        self.pictures = 0

    def __call__(self, batch):
        self.pictures += len(batch)
        return [self.find(np.asarray(one)) for one in batch]

    def find(self, image):
        found = [(0.2 + 0.75 * one.sum() / 144, label, box_of(one)) for label, one in enumerate(image) if one.any()]
        return {
            "scores": np.array([score for score, _, _ in found]),
            "labels": np.array([label for _, label, _ in found], np.int64),
            "boxes": np.array([box for _, _, box in found], np.float64).reshape(-1, 4),
        }


def area(box):
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def iou(one, other):
    shared = [max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])]
    return area(shared) / (area(one) + area(other) - area(shared))


def by_hand(finder, image, label, box, least=0.5):
    """Score times IoU of the best detection, and whether one is the same box."""
    found = finder.find(image)
    pairs = [
        (score, iou(one, box))
        for score, kind, one in zip(found["scores"], found["labels"], found["boxes"], strict=True)
        if kind == label
    ]
    answer = max((score * overlap for score, overlap in pairs), default=0.0)
    return answer, any(score >= least and overlap >= 0.5 for score, overlap in pairs)


def classifier(finder=None, **options):
    return ix.CallableClassifier(finder or Finder(), class_names=NAMES, output=outputs.Boxes(**options))


def kept(image, patches):
    labels = np.arange(24).reshape(4, 6).repeat(6, axis=0).repeat(6, axis=1)
    return np.where(np.isin(labels, patches), image, np.float32(0))


@pytest.mark.parametrize("direction", ["insertion", "deletion"])
def test_a_search_finds_the_patches_of_the_box(direction):
    image, finder = picture(), Finder()
    found = ix.MoXI(classifier(), regions=REGIONS).explain(image, "red", direction=direction)
    assert found.name_of(found.target) == "red at (6, 6) - (18, 18)"
    assert set(found.group) <= {7, 8, 13, 14}
    present = [] if direction == "insertion" else list(range(24))
    for step, patch in enumerate([None, *found.ranking.tolist()]):
        if patch is not None:
            present = [*present, patch] if direction == "insertion" else [one for one in present if one != patch]
        answer, holds = by_hand(finder, kept(image, present), 0, RED)
        assert found.answers[step] == pytest.approx(answer, rel=1e-6)
        assert found.holds[step] == holds
        likely = min(max(answer, 1e-6), 1 - 1e-6)
        assert found.rewards[step] == pytest.approx(np.log(likely / (1 - likely)), rel=1e-5)
    assert found.holds[-1] == (direction == "insertion")
    assert found.predicted.tolist() == [-1] * len(found.predicted)
    title = group_title(found)
    assert "the box 'red at (6, 6) - (18, 18)'" in title
    assert f"(score {found.answers[-1]:.4g}" in title


def test_a_picture_shows_where_the_box_is():
    found = ix.MoXI(classifier(), regions=REGIONS).explain(picture(), "red")
    assert found.output["outline"] == list(RED)
    for draw in (plots.plot_photo, plots.plot_group):
        boxes = [patch.get_bbox() for patch in draw(found, ax=Figure().subplots()).patches]
        assert [(box.x0, box.y0, box.x1, box.y1) for box in boxes] == [(5.5, 5.5, 17.5, 17.5)]


def test_every_step_takes_the_best_patch():
    image, finder = picture(), Finder()
    found = ix.MoXI(classifier(), regions=REGIONS).explain(image, 0, stop=6)
    present = []
    for patch in found.ranking:
        rest = [one for one in range(24) if one not in present]
        tried = [by_hand(finder, kept(image, [*present, one]), 0, RED)[0] for one in rest]
        assert patch == rest[int(np.argmax(np.maximum(tried, 1e-6)))]
        present.append(patch)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (None, "red"),
        (1, "green"),
        ("green", "green"),
        (outputs.Box(*GREEN), "green"),
        (outputs.Box(22, 11, 36, 19), "green"),
        (outputs.Box(*RED, label="red"), "red"),
        (outputs.Box(*RED, label=0), "red"),
    ],
)
def test_a_target_is_a_number_a_name_or_a_box(target, expected):
    found = ix.MoXI(classifier(min_score=0.3), regions=REGIONS).explain(picture(), target, stop=1)
    assert found.name_of(found.target).startswith(f"{expected} at ")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            outputs.Box(0, 0, 4, 4),
            r"`target`: expected a box that overlaps a detection by IoU 0.5, got \(0, 0\) - \(4, 4\)",
        ),
        (outputs.Box(*RED, label="green"), r"`target`: .*the model finds red at \(6, 6\) - \(18, 18\); green at"),
        (2, r"`target`: expected one of the 2 detections, best first: 0 \.\.\. 1, got 2"),
        ("blue", "`target`"),
    ],
)
def test_a_target_that_is_not_found_is_refused(target, message):
    with pytest.raises(ix.ArgumentError, match=message):
        ix.MoXI(classifier(min_score=0.3), regions=REGIONS).explain(picture(), target)


def test_a_box_needs_an_inside_and_an_image_a_detection():
    with pytest.raises(ix.ArgumentError, match="`target`: expected a box with an inside"):
        outputs.Box(4, 4, 4, 8)
    with pytest.raises(
        ix.ArgumentError, match=r"`image`: expected an image in which the model finds something.*0\.00 at best"
    ):
        ix.MoXI(classifier(), regions=REGIONS).explain(0 * picture())
    with pytest.raises(ix.ArgumentError, match="lower min_score"):
        ix.MoXI(classifier(min_score=0.99), regions=REGIONS).explain(picture())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            lambda batch: np.zeros((len(batch), 3)),
            "expected a dict with boxes, scores and labels for each picture, got nd",
        ),
        (lambda batch: [{"boxes": np.zeros((1, 4))}] * len(batch), "none of scores, labels"),
        (
            lambda batch: [{"boxes": np.zeros((2, 4)), "scores": np.ones(1), "labels": np.ones(1)}] * len(batch),
            "a score and a label for each box",
        ),
        (
            lambda batch: [{"boxes": np.ones((1, 4)), "scores": np.ones(1) * 3, "labels": np.ones(1)}] * len(batch),
            r"scores in 0 \.\.\. 1",
        ),
    ],
)
def test_answers_that_are_no_detections_are_refused(answer, message):
    with pytest.raises(ix.ModelError, match=message):
        ix.MoXI(answer, regions=REGIONS, output=outputs.Boxes()).explain(picture())


def test_what_needs_gradients_classes_or_a_probability_is_refused():
    sample = metrics.Sample.of(classifier(), picture())
    with pytest.raises(ix.ArgumentError, match="expected one with probabilities, got boxes"):
        _ = sample.probability
    with pytest.raises(ix.ArgumentError, match="whose classes can be compared, got boxes"):
        ix.MoXI(classifier(), regions=REGIONS).contrast(picture(), 1)
    module = TorchFinder()
    with pytest.raises(
        ix.ArgumentError, match="`method`: expected one without gradients, as the output boxes has none"
    ):
        methods.Gradient().explain(ix.TorchClassifier(module, output=outputs.Boxes()), picture())


class TorchFinder(torch.nn.Module):
    """The same finder, as torchvision's models answer."""

    def __init__(self):
        super().__init__()
        self.finder, self.bias = Finder(), torch.nn.Parameter(torch.zeros(1))

    def forward(self, batch):
        return [{name: torch.from_numpy(value) for name, value in one.items()} for one in self.finder(batch.numpy())]


@pytest.mark.parametrize("kind", ["function", "module"])
def test_three_boxes_cost_what_one_costs(kind):
    """RISE, Shapley values, MoXI(-) and a search's first step ask about the same pictures."""
    image = picture()
    image[2, :6, 30:] = 1

    def cost(targets, work):
        module = TorchFinder()
        finder = module.finder if kind == "module" else Finder()
        output = outputs.Boxes(min_score=0.2)
        model = (
            ix.TorchClassifier(module, output=output)
            if kind == "module"
            else ix.CallableClassifier(finder, output=output)
        )
        work(model, targets)
        return finder.pictures

    def rise(model, targets):
        for target in targets:
            methods.RISE(count=30, grid=(2, 3), baseline="zero").explain(model, image, target)

    def shapley(model, targets):
        ix.MoXI(model, regions="2x3").shapley(image, targets, rounds=5)

    def one_shot(model, targets):
        ix.MoXI(model, regions=REGIONS).one_shot(image, targets)

    def first_step(model, targets):
        ix.MoXI(model, regions=REGIONS).explain(image, targets, stop=1)

    def search(model, targets):
        ix.MoXI(model, regions=REGIONS).explain(image, targets, stop="all")

    # A curve along a ranking of one's own, and the whole image and its check, anew for each call.
    assert cost([0, 1, 2], rise) <= cost([0], rise) + 2 * 4
    assert cost([0, 1, 2], first_step) == cost([0], first_step)
    assert cost([0, 1, 2], one_shot) <= cost([0], one_shot) + 2 * 25
    assert cost([0, 1, 2], shapley) <= cost([0], shapley) + 2 * 7
    assert cost([0, 1, 2], search) < sum(cost([one], search) for one in range(3))

    asked = []

    class Remembering(Finder):
        def __call__(self, batch):
            asked.extend(one.tobytes() for one in batch)
            return super().__call__(batch)

    ix.MoXI(classifier(Remembering(), min_score=0.2), regions=REGIONS).explain(image, [0, 1, 2], stop="all")
    # The whole image is asked again, once a call, to see whether the answer depends on the batch.
    assert len(asked) - len(set(asked)) <= 1


def test_several_targets_of_one_image_are_several_results():
    found = ix.MoXI(classifier(min_score=0.2), regions=REGIONS).explain(picture(), ["red", "green"])
    assert [one.name_of(one.target).split()[0] for one in found] == ["red", "green"]
    alone = [ix.MoXI(classifier(min_score=0.2), regions=REGIONS).explain(picture(), name) for name in ("red", "green")]
    for one, other in zip(found, alone, strict=True):
        np.testing.assert_array_equal(one.ranking, other.ranking)
        np.testing.assert_array_equal(one.rewards, other.rewards)


def test_a_model_that_changes_is_asked_again():
    finder = Finder()
    model = classifier(finder)
    moxi = ix.MoXI(model, regions=REGIONS)
    first = moxi.explain(picture(), "red", stop="all")
    before = finder.pictures
    moxi.explain(picture(), "red", stop="all")
    assert finder.pictures - before <= 5
    find = finder.find
    finder.find = lambda image: {**(found := find(image)), "scores": found["scores"] * 0.9}
    second = moxi.explain(picture(), "red", stop="all")
    np.testing.assert_allclose(second.answers, first.answers * 0.9, rtol=1e-5)


def test_pictures_of_equal_bytes_and_other_shapes_are_others():
    def finder(batch):
        wide = batch.shape[3] > batch.shape[2]
        scores = [0.9 if one.any() else 0.7 if wide else 0.2 for one in batch]
        return [{"boxes": np.array([[0, 0, 2.0, 2.0]]), "labels": np.ones(1), "scores": np.array([s])} for s in scores]

    wide, tall = np.ones((3, 4, 6), np.float32), 2 * np.ones((3, 6, 4), np.float32)
    for images in ([wide, tall], [tall, wide]):
        found = ix.MoXI(finder, regions="2x2", output=outputs.Boxes()).explain(images)
        empty = {one.image.shape[:2]: one.empty.answer for one in found}
        assert empty == {(4, 6): pytest.approx(0.7), (6, 4): pytest.approx(0.2)}


def test_a_detector_that_changes_between_images_is_asked_again():
    class Sure(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = torch.nn.Parameter(torch.tensor(0.0))

        def forward(self, batch):
            scores = torch.sigmoid(4 * batch.mean((1, 2, 3)) + self.bias)
            box = torch.tensor([[0, 0, 8.0, 8.0]])
            return [{"boxes": box, "scores": score[None], "labels": torch.tensor([1])} for score in scores]

    module, images = Sure(), [np.full((3, 8, 8), value, np.float32) for value in (0.5, 0.7)]
    moxi = ix.MoXI(ix.TorchClassifier(module, output=outputs.Boxes(min_score=0.6)), regions="2x2")
    for bias in (0.0, 2.0, 0.5):
        module.bias.data.fill_(bias)
        for image in (*images, images[0]):
            fresh = ix.MoXI(ix.TorchClassifier(module, output=outputs.Boxes(min_score=0.6)), regions="2x2").explain(
                image
            )
            found = moxi.explain(image)
            assert found.empty.answer == pytest.approx(fresh.empty.answer)
            assert found.group == fresh.group


@pytest.mark.parametrize("what", ["labels", "boxes", "batch"])
def test_a_detector_whose_finds_depend_on_chance_or_the_batch_is_told(what):
    random = np.random.default_rng(0)

    def finder(batch):
        found = Finder()(batch)
        for one in found:
            if what == "labels":
                one["labels"] = random.integers(0, 3, len(one["labels"]))
            elif what == "boxes":
                one["boxes"] = one["boxes"] + random.integers(0, 5, 1)
            elif len(batch) > 1:
                one["boxes"] = one["boxes"] + 4
        return found

    with pytest.warns(UserWarning, match="its answer to one picture depends on"):
        ix.MoXI(finder, regions=REGIONS, output=outputs.Boxes(min_score=0.2)).explain(picture(), 0, stop=1)


def test_boxes_that_are_no_corners_and_great_labels_are_told_apart():
    def inverted(batch):
        return [{"boxes": np.array([[4.0, 8, 0, 0]]), "scores": np.array([0.9]), "labels": np.ones(1)}] * len(batch)

    with pytest.raises(ix.ModelError, match=r"boxes \(left, top, right, bottom\), got one of \(4, 8\) - \(0, 0\)"):
        ix.MoXI(inverted, regions=REGIONS, output=outputs.Boxes()).explain(picture())

    def great(batch):
        labels = np.array([2**24, 2**24 + 1])
        boxes = np.array([[0.0, 0, 8, 8]] * 2)
        return [{"boxes": boxes, "scores": np.array([0.9, 0.8 * one.any()]), "labels": labels} for one in batch]

    found = ix.MoXI(great, regions="2x2", output=outputs.Boxes(min_score=0.8)).explain(picture(), 1)
    assert found.name_of(found.target).startswith(f"class {2**24 + 1} at")
    assert found.empty.answer == 0
    assert found.full.answer == 0.8


def test_another_model_has_other_boxes():
    sample = metrics.Sample.of(classifier(), picture())
    with pytest.raises(ix.ArgumentError, match="`output`: expected one whose targets other models have, too"):
        sample.asked_of(classifier())


def test_a_memo_holds_the_latest_within_its_bytes(monkeypatch):
    monkeypatch.setattr("interpix.models.protocol.memo._MOST_BYTES", 3 * 8)
    memo, asked = Memo(), []

    def ask(index):
        asked.append(len(index))
        return np.arange(float(len(index)))[:, None]

    memo.rows([b"a", b"b", b"c", b"d"], ask)
    memo.rows([b"d", b"c"], ask)
    memo.rows([b"a"], ask)
    with doubting():
        memo.rows([b"d"], ask)
    assert asked == [4, 1, 1]


def test_torchvisions_detector_is_read_as_by_a_loop():
    pytest.importorskip("torchvision")
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

    torch.manual_seed(0)
    model = fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=5, box_score_thresh=0.0, box_detections_per_img=20
    ).eval()
    image = np.random.default_rng(1).random((3, 64, 96)).astype(np.float32)
    output = outputs.Boxes(min_score=0.0)
    found = ix.MoXI(model, regions="2x3", output=output).explain(image, 3, direction="deletion", stop="all")
    with torch.no_grad():
        whole = model(torch.from_numpy(image[None]))[0]
        label, box = whole["labels"][3], whole["boxes"][3].numpy()
        regions = np.arange(6).reshape(2, 3).repeat(32, axis=0).repeat(32, axis=1)
        gone = []
        for step, patch in enumerate([None, *found.ranking.tolist()]):
            gone += [] if patch is None else [patch]
            shown = np.where(np.isin(regions, gone), np.float32(0), image)
            now = model(torch.from_numpy(shown[None]))[0]
            values = [
                float(score) * iou(one.numpy(), box)
                for score, kind, one in zip(now["scores"], now["labels"], now["boxes"], strict=True)
                if kind == label
            ]
            assert found.answers[step] == pytest.approx(max(values, default=0.0), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("family", ["Detr", "Yolos", "DeformableDetr"])
def test_transformers_detectors_are_read_as_their_own_processor_does(family):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    if family == "Yolos":
        config = transformers.YolosConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=[64, 96],
            num_detection_tokens=7, num_labels=4,
        )  # fmt: skip
        model, processor = transformers.YolosForObjectDetection(config), transformers.YolosImageProcessor()
    else:
        sizes = {
            "d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
            "encoder_attention_heads": 2, "decoder_attention_heads": 2, "num_queries": 7, "num_labels": 4,
        }  # fmt: skip
        backbone = transformers.ResNetConfig(
            embedding_size=8,
            hidden_sizes=[8, 16, 16, 16],
            depths=[1, 1, 1, 1],
            out_features=["stage2", "stage3", "stage4"],
        )
        config = getattr(transformers, f"{family}Config")(
            use_timm_backbone=False, backbone_config=backbone, backbone=None, use_pretrained_backbone=False, **sizes
        )
        model = getattr(transformers, f"{family}ForObjectDetection")(config)
        processor = getattr(transformers, f"{family}ImageProcessor")()
    model.eval()
    images = np.random.default_rng(1).normal(size=(2, 3, 64, 96)).astype(np.float32)
    with torch.no_grad():
        raw = model(pixel_values=torch.from_numpy(images))
        theirs = processor.post_process_object_detection(raw, threshold=0.0, target_sizes=[(64, 96)] * 2)
    classifier = ix.TorchClassifier(model, output=outputs.Boxes(min_score=0.0))
    rows = classifier.logits(images).reshape(2, -1, 6)
    for mine, own in zip(rows, theirs, strict=True):
        order = np.argsort(-own["scores"].numpy(), kind="stable")[:7]
        count = len(order) if family != "DeformableDetr" else 1  # which lists each query with several classes
        np.testing.assert_allclose(mine[:count, 0], own["scores"].numpy()[order][:count], rtol=1e-4)
        np.testing.assert_array_equal(mine[:count, 1], own["labels"].numpy()[order][:count])
        np.testing.assert_allclose(mine[:count, 2:], own["boxes"].numpy()[order][:count], atol=1e-2)
    found = ix.MoXI(classifier, regions="2x3").explain(images[0], direction="deletion", stop=2)
    assert found.output["name"] == "boxes"


def test_an_unknown_detector_is_refused_with_the_cure():
    class Unknown(torch.nn.Module):
        def forward(self, batch):
            class Answer:
                logits, pred_boxes = torch.zeros(len(batch), 2, 3), torch.full((len(batch), 2, 4), 0.5)

            return Answer()

    with pytest.raises(ix.ModelError, match=r"a detector whose scores are known, got Answer; say output=.*scores_of"):
        ix.MoXI(Unknown(), output=outputs.Boxes()).explain(picture())
    ix.MoXI(Unknown(), regions="2x3", output=outputs.Boxes(scores_of="sigmoid")).explain(picture())


def test_overlaps_are_those_of_a_loop():
    boxes = np.random.default_rng(0).random((40, 4)) * 10
    boxes[:, 2:] += boxes[:, :2]
    for box in boxes[:10]:
        np.testing.assert_allclose(overlaps(boxes, box), [iou(one, box) for one in boxes])
