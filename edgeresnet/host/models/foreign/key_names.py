"""Keys of scripts that mean the same under other names: one name for each."""

from __future__ import annotations

import re

_SAME: dict[str, str] = {
    "class_to_idx": "class2idx class2index classtoindex classtoid class2id labeltoidx label2idx "
    "label2index labeltoindex labeltoid name2idx nametoidx cat2idx cattoidx",
    "idx_to_class": "idx2class index2class indextoclass id2class idtoclass idx2label index2label "
    "idxtolabel indextolabel idtolabel id2name idx2name idxtoname int2label",
    "classes": "classlist classlabels classlabel labellist labelmap labelsmap labelmapping "
    "labeldict labelencoder targetnames targetclasses names categorynames catnames vocab classmap "
    "classmapping classdict classindices",
    "mean": "means datamean datasetmean inputmean channelmean channelmeans channelsmean "
    "normalizemean normalizationmean",
    "std": "stds stdev stddev datastd datasetstd inputstd channelstd channelstds channelsstd "
    "normalizestd normalizationstd",
    "image_mean": "imgmean",
    "image_std": "imgstd",
    "norm_mean": "normmeans",
    "norm_std": "normstds",
    "image_size": "imsize imgsz imgdim imagedim imagesz inputres inputresolution imageresolution "
    "imgresolution resolution inputdim inputshape imageshape imgshape imageheight imagewidth "
    "imgheight imgwidth imgh imgw inputheight inputwidth",
    "color_space": "colourspace imgmode imagemode pixelformat colorformat",
    "rgb_to_bgr": "bgr isbgr usebgr swaprb swaprgb",
    "bgr_to_rgb": "rgb isrgb",
    "hidden_act": "act actlayer actfn activation activationfn activationfunction nonlinearity",
    "global_pool": "gp pooltype poolingtype globalpooling",
    "bn_eps": "bneps normeps batchnormeps bnepsilon batchnormepsilon",
    "aa_layer": "antialias antialiasing antialiased blurpool useblurpool",
    "dilation": "dilations dilated",
}  # fmt: skip
_NAMES = {
    other: name
    for name, others in _SAME.items()
    for other in (name.replace("_", ""), *others.split())
}


def canonical(key: str) -> str:
    """The name by which a key is known here: of its case, separators and synonyms nothing is left.

    What is not known stays as it is, in lower case.
    """
    lower = key.strip().lower()
    return _NAMES.get(re.sub(r"[\s_./-]+", "", lower), lower)
