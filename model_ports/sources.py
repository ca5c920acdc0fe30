"""Where the published weights live, under which names and licences.

Stated as seen in the authors' repositories and pages in 2026; links pinned to a commit or a
release where there is one. A licence is that of the repository that publishes the weights.
"""

import dataclasses

from model_ports.errors import InputError


@dataclasses.dataclass(frozen=True)
class PublishedFile:
    """One file of published weights.

    Attributes:
        name: file name under which it is published and kept.
        url: direct link.
        checksum: "<algorithm>:<hex digits>" with md5, sha256 or git-sha1 (the identifier that git
            gives a file's content); None where nobody states one.
        hub: Hugging Face repository that holds it, else None.
        companions: files of the same hub repository that tell its configuration.
    """

    name: str
    url: str
    checksum: str | None = None
    hub: str | None = None
    companions: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Source:
    """Where an encoder comes from.

    Attributes:
        encoder: its name here.
        modality: which signals it was trained on.
        paper: link to the publication.
        code: link to the authors' code.
        page: link to the page that offers the weights.
        licence: SPDX identifier.
        files: the published files that `from_checkpoint` reads; the first is the default.
        note: what to know before using them.
    """

    encoder: str
    modality: str
    paper: str
    code: str
    page: str
    licence: str
    files: tuple[PublishedFile, ...]
    note: str = ""

    def __str__(self) -> str:
        lines = [
            f"{self.encoder}: {self.licence}", f"  paper    {self.paper}",
            f"  code     {self.code}", f"  weights  {self.page}",
        ]
        lines += [f"  file     {file.name}  {file.url}" for file in self.files]
        return "\n".join(lines + [f"  note     {self.note}"] * bool(self.note))


def sources(name: str) -> Source:
    """Returns where the published weights of an encoder live.

    Raises:
        InputError: unknown name.
    """
    if name not in _SOURCES:
        raise InputError(f"no source is known for {name!r}; there are {', '.join(_SOURCES)}.")
    return _SOURCES[name]


def _hub(repository: str, name: str, companions: tuple[str, ...] = ()) -> PublishedFile:
    url = f"https://huggingface.co/{repository}/resolve/main/{name}"
    return PublishedFile(name, url, hub=repository, companions=companions)


def _hubert_ecg(size: str) -> Source:
    repository = f"Edoardo-BS/hubert-ecg-{size}"
    return Source(
        encoder=f"hubert_ecg_{size}",
        modality="ECG, 12 leads",
        paper="https://doi.org/10.1101/2024.11.14.24317328",
        code="https://github.com/Edoar-do/HuBERT-ECG",
        page=f"https://huggingface.co/{repository}",
        licence="CC-BY-NC-4.0",
        files=(
            _hub(repository, "model.safetensors", ("config.json",)),
            _hub("Edoardo-BS/HuBERT-ECG-SSL-Pretrained", f"hubert_ecg_{size}.pt"),
        ),
        note="Not for commercial use. BioX-Bridge used the .pt file of the small model.",
    )


def _ecg_dualnet_file(run: str, git_sha1: str) -> PublishedFile:
    return PublishedFile(
        f"{run}.pt",
        "https://raw.githubusercontent.com/ChristophReich1996/ECG_Classification/"
        f"3694a7e3ccf62265356f4e6b4d095a0d037106de/experiments/{run}/models/best_model.pt",
        f"git-sha1:{git_sha1}",
    )


_ALL = (
    Source(
        encoder="ecg_dualnet",
        modality="ECG",
        paper="https://doi.org/10.1088/1361-6579/ac7840",
        code="https://github.com/ChristophReich1996/ECG_Classification",
        page="https://github.com/ChristophReich1996/ECG_Classification#results",
        licence="MIT",
        files=(
            _ecg_dualnet_file(
                "17_12_2021__01_08_08ECGAttNet_XL_physio_net_dataset_challange_two_classes",
                "69a416331a648c143f21c0ceeedec27513a0395b",
            ),
            _ecg_dualnet_file(
                "09_06_2021__14_23_40ECGAttNet_XL_physio_net_dataset_challange",
                "2b2c628e64b163d59f619f59ccb3110bb9e8fe10",
            ),
            _ecg_dualnet_file(
                "08_06_2021__17_14_58ECGAttNet_XL_physio_net_dataset_pretrained",
                "cf9b254b9c10cd264cfd900f2f8ec70fbc5e04df",
            ),
        ),
        note="ECG-DualNet++ XL. Each file is called best_model.pt in a folder of the name given "
             "here; the first tells two classes, the others four.",
    ),
    Source(
        encoder="ecg_fm",
        modality="ECG, 12 leads",
        paper="https://arxiv.org/abs/2408.05178",
        code="https://github.com/bowang-lab/ECG-FM",
        page="https://huggingface.co/wanglab/ecg-fm",
        licence="MIT",
        files=(
            _hub("wanglab/ecg-fm", "mimic_iv_ecg_physionet_pretrained.pt"),
            _hub("wanglab/ecg-fm", "mimic_iv_ecg_finetuned.pt"),
        ),
        note="The first is pre-trained, the second fine-tuned on MIMIC-IV-ECG.",
    ),
    *(_hubert_ecg(size) for size in ("base", "large", "small")),
    Source(
        encoder="labram",
        modality="EEG",
        paper="https://openreview.net/forum?id=QzTpTRVtrP",
        code="https://github.com/935963004/LaBraM",
        page="https://github.com/935963004/LaBraM/tree/main/checkpoints",
        licence="MIT",
        files=(
            PublishedFile(
                "labram-base.pth",
                "https://raw.githubusercontent.com/935963004/LaBraM/"
                "c431221e6cfd23dbfa9950e0180682fb322b0548/checkpoints/labram-base.pth",
                "git-sha1:221148b5af403e9178629bb61e94b2e7d89ef172",
            ),
        ),
        note="It has a position table: pass leads=('F3', ...) in the order of the signal. "
             "The authors did not publish the large and huge models.",
    ),
    Source(
        encoder="normwear",
        modality="PPG, ECG, EEG, GSR, IMU",
        paper="https://arxiv.org/abs/2412.09758",
        code="https://github.com/Mobile-Sensing-and-UbiComp-Laboratory/NormWear",
        page="https://github.com/Mobile-Sensing-and-UbiComp-Laboratory/NormWear/releases/tag/"
             "v1.0.0-alpha",
        licence="Apache-2.0",
        files=(
            PublishedFile(
                "normwear_last_checkpoint-15470-correct.pth",
                "https://github.com/Mobile-Sensing-and-UbiComp-Laboratory/NormWear/releases/"
                "download/v1.0.0-alpha/normwear_last_checkpoint-15470-correct.pth",
            ),
        ),
    ),
    Source(
        encoder="papagei",
        modality="PPG",
        paper="https://arxiv.org/abs/2410.20542",
        code="https://github.com/Nokia-Bell-Labs/papagei-foundation-model",
        page="https://zenodo.org/records/13983110",
        licence="BSD-3-Clause",
        files=(
            PublishedFile(
                "papagei_s.pt",
                "https://zenodo.org/api/records/13983110/files/papagei_s.pt/content",
                "md5:a4cdb32392e2a7b25999128af92813b5",
            ),
        ),
        note="The licence is the code repository's.",
    ),
    Source(
        encoder="tiny_biomoe",
        modality="pictures of ECG, EMG, EEG",
        paper="https://doi.org/10.1145/3747327.3764788",
        code="https://github.com/GkikasStefanos/Tiny-BioMoE",
        page="https://github.com/GkikasStefanos/Tiny-BioMoE/releases",
        licence="MIT",
        files=(
            PublishedFile(
                "Tiny-BioMoE.pth",
                "https://github.com/GkikasStefanos/Tiny-BioMoE/releases/latest/download/"
                "Tiny-BioMoE.pth",
            ),
        ),
    ),
)
_SOURCES = {source.encoder: source for source in _ALL}
