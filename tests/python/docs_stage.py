"""What the code of README and docs finds when it is run: photos, and small networks in the place of trained ones."""

from functools import partial

import captum.attr
import numpy as np
import timm
import torch
import torchvision
from PIL import Image

import interpix as ix
import prompt_models
from docs_blocks import ROOT
from interpix.evaluation import plan

SIDE = 64
PHOTOS = ("photo", "other", "cat", "dog", "a", "b", "c")


class Cells(torch.nn.Module):
    """A network that is asked in a moment: logits from the mean colors of 4 x 4 cells."""

    def __init__(self, classes=1000):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.convolution = torch.nn.Conv2d(3, 3, 1)
        self.pool = torch.nn.AdaptiveAvgPool2d(4)
        self.head = torch.nn.Linear(48, classes)
        self.head.weight.data = torch.randn(classes, 48, generator=generator)
        torch.nn.init.dirac_(self.convolution.weight)

    def forward(self, batch):
        return self.head(self.pool(self.convolution(batch)).flatten(1))


class Finds(torch.nn.Module):
    """A detector that finds two things wherever it is bright."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, pictures):
        boxes = torch.tensor([[4.0, 4.0, 40.0, 40.0], [30.0, 30.0, 60.0, 60.0]])
        found = []
        for one in pictures:
            parts = [one[:, top:bottom, left:right].mean() for left, top, right, bottom in boxes.int().tolist()]
            scores = (2 + self.scale * torch.stack(parts)).sigmoid()
            found.append({"boxes": boxes, "labels": torch.tensor([12, 8]), "scores": scores})
        return found


class Paints(torch.nn.Module):
    """A segmenter of two classes: bright pixels are of class 12."""

    def __init__(self):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(()))

    def forward(self, batch):
        logits = torch.full((len(batch), 21, *batch.shape[2:]), -9.0)
        logits[:, 12], logits[:, 0] = batch.mean(dim=1) + self.bias, -batch.mean(dim=1)
        return {"out": logits}


def preprocess(picture):
    """A PIL image or an array to (3, 64, 64), normalized."""
    small = Image.fromarray(np.asarray(picture)).convert("RGB").resize((SIDE, SIDE))
    return torch.from_numpy(np.asarray(small, np.float32).transpose(2, 0, 1).copy() / 255 - 0.5)


def _imagenet(folder):
    """Two photos as ImageNet's validation set has them: annotations in XML files, and the names of classes."""
    (folder / "ILSVRC2012_img_val").mkdir()
    (folder / "val").mkdir()
    box = "<xmin>10</xmin><ymin>10</ymin><xmax>60</xmax><ymax>60</ymax>"
    for index in (1, 2):
        name = f"ILSVRC2012_val_{index:08}"
        (folder / "ILSVRC2012_img_val" / f"{name}.JPEG").symlink_to(folder / f"{PHOTOS[index]}.jpg")
        text = f"<annotation><object><name>n{index:08}</name><bndbox>{box}</bndbox></object></annotation>"
        (folder / "val" / f"{name}.xml").write_text(text)
    (folder / "synset_words.txt").write_text("".join(f"n{index:08} class {index}\n" for index in range(1000)))


def lay_out(folder):
    """The files that a page's code takes as given."""
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "photos").mkdir()
    for index, name in enumerate(PHOTOS):  # two of them in a folder, too
        photo = Image.open(ROOT / "examples" / ("coffee.jpg" if index % 2 else "chelsea.jpg"))
        for path in (folder, folder / "photos") if name in {"cat", "dog"} else (folder,):
            photo.resize((90 + index, 72)).save(path / f"{name}.jpg")
    Image.fromarray(np.uint8(255 * np.eye(72, 93, dtype=bool))).save(folder / "dog_mask.png")
    (folder / "folder").symlink_to("photos")
    _imagenet(folder)


def prepare(monkeypatch, folder):
    """The folder in which a page's code runs, and what its names stand for."""
    lay_out(folder)
    names = ix.load_model("efficientnet_lite0").class_names

    def load_model(name, **_options):
        module = ix.TorchClassifier(Cells(), preprocess=preprocess, class_names=names, name=name)
        return (
            module
            if ":" in name
            else ix.CallableClassifier(
                module.logits, preprocess=lambda raw: preprocess(raw).numpy(), class_names=names, name=name
            )
        )

    create = timm.create_model

    def create_model(*_names, **_options):
        module = create("test_vit", img_size=SIDE)  # 16 tokens
        module.pretrained_cfg = {**module.pretrained_cfg, "input_size": (3, SIDE, SIDE)}
        return module

    monkeypatch.setattr(timm, "create_model", create_model)
    monkeypatch.setattr(plan, "load_model", load_model)
    monkeypatch.setattr(ix, "load_model", load_model)
    detection = torchvision.models.detection
    monkeypatch.setattr(detection, "fasterrcnn_resnet50_fpn", lambda **_options: Finds())
    monkeypatch.chdir(folder)


def small_weights():
    """Torchvision's weights of a segmenter, whose pictures are 64 pixels high."""
    known = torchvision.models.segmentation.LRASPP_MobileNet_V3_Large_Weights.DEFAULT
    transforms = partial(known.transforms.func, **known.transforms.keywords | {"resize_size": SIDE})

    class Small(torchvision.models.WeightsEnum):
        DEFAULT = torchvision.models.Weights(known.url, transforms, known.meta)

    return Small.DEFAULT


def names_for(page):
    """What a page takes as given: the reader's own model, photo or map."""
    clip, processor = prompt_models.build("CLIP")
    names = [f"thing {index}" for index in range(16)] + ["horse", "cat", "dog", "leash"]
    own = {
        "np": np,
        "torch": torch,
        "torchvision": torchvision,
        "Image": Image,
        "ix": ix,
        "methods": ix.methods,
        "photo": "photo.jpg",
        "other": "other.jpg",
        "photos": ["cat.jpg", "dog.jpg"],
        "clip": clip,
        "processor": processor,
        "image": "photo.jpg",
        "images": torch.rand(2, 3, 40, 48),
        "attribution": torch.rand(2, 1, 40, 48),
        "maps": torch.rand(3, 72, 90),
        "preprocess": preprocess,
    }
    own["model"] = ix.load_model("efficientnet_lite0")
    if page == "docs/metrics.md":
        own["attribution"] = np.random.default_rng(0).random((SIDE, SIDE))
    if page == "docs/methods.md":
        own |= {"model": Cells(), "image": torch.rand(3, SIDE, SIDE), "captum": captum}
    if page == "docs/models.md":
        own |= {"module": torchvision.models.VisionTransformer(SIDE, 16, 2, 2, 32, 64, num_classes=5)}
    if page == "docs/outputs.md":
        own |= {
            "module": Cells(2),
            "tagger": ix.TorchClassifier(Cells(20), preprocess=preprocess, class_names=names),
            "age": ix.TorchClassifier(Cells(1), preprocess=preprocess),
            "encoder": ix.TorchClassifier(Cells(5), preprocess=preprocess),
            "ranker": ix.TorchClassifier(Cells(4), preprocess=preprocess),
            "segmenter": Paints(),
            "weights": small_weights(),
            "sentinel": torch.nn.Conv2d(5, 2, 3),
            "to_picture": lambda tensor: np.zeros((*tensor.shape[1:], 3), np.uint8),
            "radar": torch.nn.Conv2d(2, 2, 3),
        }
    if page == "docs/guides/multi-label.md":
        own |= {"tagger": ix.TorchClassifier(Cells(20), preprocess=preprocess, class_names=names)}
    return own
